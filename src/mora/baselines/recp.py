"""ReCP: contrastive prediction between a POI view and a mobility view."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32, Int
from sklearn.utils.extmath import randomized_svd

from mora.baselines.inputs import raw
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.errors import MoraError

POI_SHARE = 0.1  # of the POIs that an alteration touches, published code
FLOW_NOISE = 1e-4  # deviation, where the largest flow is 1, published code
FLOW_COPIES = 4  # positives of the mobility view, published code
FEATURE_NOISE = 0.1  # deviation, where columns have deviation 1; ours
REGIONS = 270  # of the paper: tokens of its only batch, and columns of its flows
MEASURED = {"checkin": (0.798, 0.019), "crime": (0.657, 0.018)}  # mean, deviation
COUNTS_WEIGHT = 1e-4  # of the POI view where it holds counts, published code


@baseline(
    "recp",
    group="trained",
    source=(
        "Li et al. 2024, Urban Region Embedding via Multi-View Contrastive "
        "Prediction, AAAI"
    ),
    needs=("flows", "features"),
    reproduction=Reproduction(
        "the paper's regions and check-ins are others, and MoRA's Table 3 is on closed "
        "data. Here, on 180 regions of Manhattan (ridge, 5 folds, pooled R2, 3 seeds): "
        + ", ".join(f"{k} {m:.3f} ± {d:.3f}" for k, (m, d) in MEASURED.items()),
        command="pytest tests/test_baselines_recp.py -m slow",
    ),
    settings=(
        {},
        {"log_flows": True},
        {"poi_weight": 1.0},
        {"log_flows": True, "poi_weight": 1.0},
    ),
)
def recp(
    given: BaselineInput,
    *,
    poi: str = "poi",
    dim: int = 96,
    steps: int = 1000,
    batch: int = REGIONS,
    learning_rate: float | int = 0.01,
    temperature: float | int = 0.08,
    alpha: float | int = 9.0,
    intra_weight: float | int = 1.0,
    reconstruction_weight: float | int = 1.0,
    poi_weight: float | int | None = None,
    warmup: int = 50,
    log_flows: bool = False,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens by contrast within, and prediction between, POIs and movement.

    Source: Li et al. 2024, ReCP; options and sizes of the published code, and 96
    columns as in Table 3 of MoRA. Three autoencoders (128, 128, dim / 2) read the POI
    features, the outflow and the inflow, volume included. Within a view, tokens are
    contrasted with altered copies; between the views, mutual information is maximised
    and each view predicts the other.

    Departures: decoders end in a linear layer. Where there are more tokens than the
    paper's 270, a step sees a batch of as many, and rows of the flows are projected on
    their first 270 right singular vectors. POI features that are not counts are
    standardised, and their copies are noisy instead of having POIs added, removed or
    replaced.

    Args:
        given: flows, features and seed of the run.
        poi: modality that is the POI view; the first one where the run has none of
            the name. Missing values count as no POIs, or as the mean of the column.
        dim: columns of the result, half for each view; even.
        steps: gradient steps; published: 1000 epochs of one batch each.
        batch: tokens of a step, at least 2.
        learning_rate: of Adam; falls to 0.3 of itself after each tenth of the steps.
        temperature: of the intra-view contrast; > 0.
        alpha: weight of the entropy beside the mutual information.
        intra_weight: of the intra-view contrast.
        reconstruction_weight: of the autoencoders' error.
        poi_weight: of the losses of the POI view; None gives counts the published
            1e-4, since their errors are large, and other features 1.
        warmup: steps before the prediction between views joins.
        log_flows: whether flows enter as log(1 + flow) instead of in proportion.

    Returns:
        POI view, then mobility view; none negative.

    Raises:
        MissingInputError: if there is no mobility graph or no features.
        MoraError: if an option is out of range, or there are fewer than 2 tokens.
    """
    _check_options(dim, steps, batch, temperature)
    flows, features = given.require_flows(), given.require_features()
    if flows.shape[0] < 2:
        raise MoraError(f"recp got {flows.shape[0]} tokens; expected 2 to contrast.")
    block = features.get(poi, next(iter(features.values())))
    views = _Views(
        poi=_poi_numbers(block),
        counts=_holds_counts(block),
        flows=_flow_numbers(flows, log_flows, given.seed),
        random=np.random.default_rng(given.seed),
    )
    if poi_weight is None:
        poi_weight = COUNTS_WEIGHT if views.counts else 1.0

    import torch

    from mora.baselines.recp_network import Losses, Recp, train_recp

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given.seed)
        model = Recp(views.poi.shape[1], views.flows[0].shape[1], dim // 2)
    return train_recp(
        model,
        [views.poi, *views.flows],
        views.altered,
        options=Losses(
            temperature, alpha, intra_weight, reconstruction_weight, poi_weight, warmup
        ),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        random=views.random,
    )


@dataclass(frozen=True, eq=False)
class _Views:
    """What the encoders read, and how it is altered.

    Attributes:
        poi: POIs by category, or standardised features.
        counts: which of the two.
        flows: outflow and inflow.
        random: draws the alterations.
    """

    poi: Float[np.ndarray, "tokens poi"]
    counts: bool
    flows: tuple[Float[np.ndarray, "tokens flow"], Float[np.ndarray, "tokens flow"]]
    random: np.random.Generator

    def altered(self, rows: Int[np.ndarray, " batch"]) -> list[list[np.ndarray]]:
        """Give altered copies of the POIs, outflow and inflow of some tokens."""
        poi = self.poi[rows]
        if self.counts:
            copies = alter_counts(poi, self.random)
        else:
            copies = [self._noisy(poi, FEATURE_NOISE) for _ in range(3)]
        moved = [
            [self._noisy(flow[rows], FLOW_NOISE) for _ in range(FLOW_COPIES)]
            for flow in self.flows
        ]
        return [copies, *moved]

    def _noisy(self, block: np.ndarray, deviation: float) -> np.ndarray:
        noise = self.random.standard_normal(block.shape, dtype=np.float32)
        return block + np.float32(deviation) * noise


def alter_counts(
    counts: Float[np.ndarray, "tokens categories"], random: np.random.Generator
) -> list[Float[np.ndarray, "tokens categories"]]:
    """Give copies with a tenth of the POIs doubled, removed, and of another category.

    Source: Li et al. 2024, augmentation of the POI view. Departs from the published
    code, which keeps one POI where all would go.

    Args:
        counts: POIs of each token by category; whole numbers.
        random: draws which POIs.

    Returns:
        Three arrays like ``counts``; without POIs, all of them zero.
    """
    whole = counts.astype(np.int64)
    added, removed, moved = (random.binomial(whole, POI_SHARE) for _ in range(3))
    categories = whole.shape[1]
    to = random.multinomial(moved.sum(axis=1), np.full(categories, 1 / categories))
    copies = [whole + added, whole - removed, whole - moved + to]
    return [copy.astype(counts.dtype) for copy in copies]


def _holds_counts(block: Float[np.ndarray, "tokens columns"]) -> bool:
    """Tell whether all known values are numbers of something."""
    known = block[~np.isnan(block)]
    return bool((known >= 0).all() and (known == np.round(known)).all())


def _poi_numbers(
    block: Float[np.ndarray, "tokens columns"],
) -> Float32[np.ndarray, "tokens columns"]:
    """Give counts as they are, other features standardised, and nothing missing."""
    if not _holds_counts(block):
        block = raw(BaselineInput(features={"poi": block}))
    return np.nan_to_num(block).astype(np.float32)


def _flow_numbers(
    flows: sp.csr_array, log_flows: bool, seed: int
) -> tuple[Float32[np.ndarray, "tokens flow"], Float32[np.ndarray, "tokens flow"]]:
    """Give each token's flows to, and from, all others; the largest one is 1."""
    flows = flows.astype(np.float64)
    if log_flows:
        flows = flows.log1p()
    flows = flows / max(flows.max(), np.finfo(float).tiny)
    return _narrow(flows, seed), _narrow(flows.T.tocsr(), seed)


def _narrow(flows: sp.csr_array, seed: int) -> Float32[np.ndarray, "tokens flow"]:
    """Give the rows, on their first singular vectors where they are long."""
    if flows.shape[1] <= REGIONS:
        return flows.toarray().astype(np.float32)
    left, values, _ = randomized_svd(flows, REGIONS, random_state=seed)
    return (left * values).astype(np.float32)


def _check_options(dim: int, steps: int, batch: int, temperature: float | int) -> None:
    """Refuse options out of range."""
    if dim < 2 or dim % 2:
        raise MoraError(f"dim is {dim}; expected an even number, half for each view.")
    if steps < 1:
        raise MoraError(f"steps is {steps}; expected at least 1.")
    if batch < 2:
        raise MoraError(f"batch is {batch}; expected at least 2 tokens to contrast.")
    if temperature <= 0:
        raise MoraError(f"temperature is {temperature}; expected more than 0.")
