"""The models that stand in one table: vectors of RAW, and what they must beat."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from mora.embeddings import Embeddings
from mora.trajectories.raw.regions import Presence, pool_regions
from mora.trajectories.raw.rules import (
    DistanceRule,
    MajorityClass,
    TrainingMean,
    count_users,
    describe_traces,
    night_and_noon,
    random_users,
)
from mora.trajectories.raw.tasks import LabelTask, Predictor, VectorHead
from mora.trajectories.traces import Traces


def user_predictors(
    task: LabelTask, vectors: Float[np.ndarray, "users dim"], traces: Traces
) -> dict[str, Predictor]:
    """Give the models for a task of users.

    Args:
        task: a label for each user.
        vectors: RAW's, in the same order.
        traces: of the same users, in the same order.

    Returns:
        Heads on RAW's vectors (``raw mlp``, ``raw linear``), the same head on features
        made by hand (``by hand``), a constant, and for two classes the ``night-noon
        rule``.
    """
    by_hand = describe_traces(traces)
    models: dict[str, Predictor] = {
        "raw mlp": VectorHead(vectors),
        "raw linear": VectorHead(vectors, "linear"),
        "by hand": VectorHead(by_hand),
    }
    if task.kind == "numbers":
        return {**models, "mean": TrainingMean()}
    models["majority"] = MajorityClass()
    if len(np.unique(task.labels[task.known()])) == 2:
        distance_km = night_and_noon(traces).distance_km()
        models["night-noon rule"] = DistanceRule(distance_km)
    return models


def pool_variants(
    presence: Presence,
    vectors: Float[np.ndarray, "users dim"],
    *,
    min_users: int = 2,
    seed: int = 0,
) -> dict[str, Embeddings]:
    """Give the vectors of the same regions, made in every way.

    Args:
        presence: the distinct users of each region.
        vectors: RAW's, in the order of ``presence.users``.
        min_users: regions with fewer are left out.
        seed: of the users drawn at random.

    Returns:
        ``raw sum``, ``raw mean``, the same of as many users drawn at random (``random
        sum``, ``random mean``), and ``user count`` alone.
    """
    drawn = random_users(presence, seed)
    return {
        "raw sum": pool_regions(presence, vectors, "sum", min_users=min_users),
        "raw mean": pool_regions(presence, vectors, "mean", min_users=min_users),
        "random sum": pool_regions(drawn, vectors, "sum", min_users=min_users),
        "random mean": pool_regions(drawn, vectors, "mean", min_users=min_users),
        "user count": count_users(presence, min_users=min_users),
    }


def region_predictors(
    task: LabelTask, variants: Mapping[str, Embeddings]
) -> dict[str, Predictor]:
    """Give the models for a task of regions: a linear head on each kind of vector.

    Args:
        task: a label for each region that is shown.
        variants: of :func:`pool_variants`, or other vectors of the same regions.
    """
    models: dict[str, Predictor] = {
        name: VectorHead(pooled.vectors, "linear") for name, pooled in variants.items()
    }
    constant = TrainingMean() if task.kind == "numbers" else MajorityClass()
    return {**models, "constant": constant}
