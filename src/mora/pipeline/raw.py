"""RAW, step by step: pretrain, embed users and regions, forecast, evaluate."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mora.embeddings import Embeddings
from mora.errors import MoraError
from mora.geometry import cells_at
from mora.personal import mark_personal
from mora.pipeline.display import Display
from mora.pipeline.folder import file_checksum
from mora.pipeline.raw_config import RawRunConfig
from mora.pipeline.raw_people import People, read_people
from mora.pipeline.steps import Step, do_step
from mora.progress import Progress
from mora.tables.visits import hash_users
from mora.tokens import H3Tokens
from mora.trajectories.generator.squares import generate_regions
from mora.trajectories.raw.comparison import (
    pool_variants,
    region_predictors,
    user_predictors,
)
from mora.trajectories.raw.contrastive import pretrain_contrastive
from mora.trajectories.raw.evaluation import Evaluation, forecast_scores
from mora.trajectories.raw.forecast import evaluate_forecast, forecast
from mora.trajectories.raw.inputs import study_box
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.pretraining import NextPointTask, pretrain_raw
from mora.trajectories.raw.regions import Presence, find_users, pool_regions
from mora.trajectories.raw.saved import load_raw, save_raw
from mora.trajectories.raw.steps import Steps
from mora.trajectories.raw.tasks import LabelTask, TaskScore, evaluate_task
from mora.trajectories.raw.user_vectors import embed_users, write_user_vectors

OURS = "RAW"
# Settings that the weights of the network depend on.
TRAINED_BY = (
    *("seed", "traces", "steps", "test_share", "preset", "network"),
    *("pretrained", "pretraining", "contrastive", "training"),
)
NOTE = """Where single people are forecast to go, under hashed ids. Do not publish it.
"""


@dataclass(frozen=True)
class RawRun:
    """A run of `mora raw`: each step has a folder, and is done once.

    Attributes:
        config: what it is told.
        home: folder of the run.
        display: what shows text and progress.
    """

    config: RawRunConfig
    home: Path
    display: Display = field(default_factory=Display)

    @cached_property
    def people(self) -> People:
        """Give the users, read when they are first asked for."""
        return read_people(self.config)

    def train(self) -> dict[str, Any]:
        """Pretrain the network on the users that are not set aside for the test."""
        config = self.config

        def work(folder: Path) -> dict[str, Any]:
            steps = self._training_steps()
            with self.display.bar("Training", "steps") as progress:
                signs = _pretrain(config, steps, folder, progress)
            for sign in signs:
                self.display.say(f"  Warning: {sign}")
            return {"users": len(steps.users), "signs": signs}

        return self._do("train", "Pretraining RAW", work, TRAINED_BY)

    def network(self) -> RawNetwork:
        """Give the pretrained network."""
        self.train()
        network = load_raw(self.home / "train")
        if self.config.pretrained is not None:
            box = study_box(self._own_steps().lonlat)
            network.config = network.config.model_copy(update={"box": box})
        return network

    def _own_steps(self) -> Steps:
        """Give the steps of the users who are not set aside for the test."""
        return self.people.steps.take_users(np.flatnonzero(~self.people.test))

    def _training_steps(self) -> Steps:
        """Give the steps that the network is trained on, of these people or others."""
        if self.config.pretrained is None:
            return self._own_steps()
        other = self.config.model_copy(update={"traces": self.config.pretrained})
        return read_people(other).steps

    def embed_users(self) -> Path:
        """Write a vector for every user, under hashed ids, to a personal folder."""
        network = self.network()

        def work(folder: Path) -> dict[str, Any]:
            salt = secrets.token_bytes(16)
            with self.display.bar("Embedding users", "users") as progress:
                write_user_vectors(
                    network, self.people.steps, folder, salt, progress=progress
                )
            (folder / "salt").write_text(salt.hex())  # who has it can find own users
            return {"users": len(self.people.steps.users)}

        self._do("users", "Vectors of users", work, TRAINED_BY)
        return self.home / "users"

    def embed_regions(self) -> Embeddings:
        """Write ``embeddings.parquet`` of the regions, as MoRA does of its places."""
        presence, given = self.presence(), self.config.regions
        vectors = embed_users(self.network(), self.people.steps)
        pooled = pool_regions(
            presence, vectors, given.pooling, min_users=given.min_users
        )
        pooled.write(self.home / "embeddings.parquet")
        return pooled

    def predict(self) -> Path:
        """Write where every user goes next, under hashed ids, to a personal folder."""
        folder = mark_personal(self.home / "forecast", NOTE)
        steps, horizon = self.people.steps, self.config.horizon
        points = forecast(self.network(), steps, horizon)
        user = hash_users(steps.users, secrets.token_bytes(16))
        order = np.argsort(user)
        table = pa.table(
            {
                "user": np.repeat(user[order], horizon),
                "minutes": np.tile(
                    steps.minutes * np.arange(1, horizon + 1), len(user)
                ),
                "lon": points[order, :, 0].ravel(),
                "lat": points[order, :, 1].ravel(),
            }
        )
        pq.write_table(table, folder / "forecast.parquet")
        return folder / "forecast.parquet"

    def evaluate(self) -> Evaluation:
        """Judge vectors and forecasts on users whom the network never saw."""
        signs = self.train()["signs"]
        scores = [*self.profile_scores(), *self.region_scores()]
        if self.config.pretraining == "forecast":
            scores += self.forecast_scores()
        evaluation = Evaluation(scores, OURS, signs)
        evaluation.write(self.home)
        return evaluation

    def profile_scores(self) -> list[TaskScore]:
        """Score what the vectors of unseen users tell of them."""
        people, rows = self.people, np.flatnonzero(self.people.test)
        vectors = embed_users(self.network(), people.steps.take_users(rows))
        traces = people.traces.of_users(people.steps.users[rows])
        found = []
        for name in people.labels:
            try:
                task = people.task(name, rows)
            except MoraError as error:
                self.display.say(f"  not scored: {error}")
                continue
            models = user_predictors(task, vectors, traces)
            found += evaluate_task(
                task, models, repeats=self.config.repeats, seed=self.config.seed
            )
        return [_ours(score, "raw mlp") for score in found]

    def region_scores(self) -> list[TaskScore]:
        """Score what the vectors of regions tell, where labels of regions are made up.

        Labels of real regions are scored by ``mora benchmark``, which reads what
        :meth:`embed_regions` writes.
        """
        made_up = self.config.traces.generated
        if made_up is None:
            return []
        regions = generate_regions(made_up, self.config.seed)
        presence = find_users(self.people.traces, regions.tokens)
        vectors = embed_users(self.network(), self.people.steps)
        given = self.config.regions
        variants = pool_variants(
            presence, vectors, min_users=given.min_users, seed=self.config.seed
        )
        shown = regions.tokens.encode(next(iter(variants.values())).tokens.ids)
        tasks = [
            LabelTask(
                "points of interest", np.log1p(regions.pois[shown].sum(1)), "numbers"
            ),
            LabelTask("function of a region", regions.function[shown], "classes"),
        ]
        return [
            _ours(score, f"raw {given.pooling}")
            for task in tasks
            for score in evaluate_task(
                task,
                region_predictors(task, variants),
                repeats=self.config.repeats,
                seed=self.config.seed,
            )
        ]

    def forecast_scores(self) -> list[TaskScore]:
        """Score forecasts of unseen users, by how far ahead they are."""
        steps = self.people.steps.take_users(np.flatnonzero(self.people.test))
        errors = evaluate_forecast(self.network(), steps, self.config.horizon)
        shown = [int(m) for m in errors.minutes]
        horizons = sorted({shown[0], shown[len(shown) // 2], shown[-1]})
        return forecast_scores(errors.minutes, [errors.km], horizons)

    def presence(self) -> Presence:
        """Find who was seen in which cell."""
        traces = self.people.traces
        cells = np.unique(cells_at(traces.lonlat, self.config.regions.resolution))
        return find_users(traces, H3Tokens.from_cells(cells))

    def _do(
        self,
        name: str,
        title: str,
        work: Callable[[Path], dict[str, Any]],
        sections: tuple[str, ...],
    ) -> dict[str, Any]:
        """Do one step, which depends on some sections and on the table."""
        settings = self.config.model_dump(mode="json", include=set(sections))
        table = self.config.traces.table
        if table is not None:
            settings["file"] = file_checksum(Path(str(table.path)))
        return do_step(Step(name, title, settings, work), self.home, self.display)


def _pretrain(
    config: RawRunConfig, steps: Steps, folder: Path, progress: Progress
) -> list[str]:
    """Leave a network in the folder; give the signs of failure of its training."""
    network, training, seed = config.raw(), config.training, config.seed
    if config.pretraining == "forecast":
        return pretrain_raw(
            steps, network, training, folder, seed=seed, progress=progress
        ).signs
    if config.pretraining == "contrastive":
        return pretrain_contrastive(
            steps,
            network,
            training,
            folder,
            options=config.contrastive,
            seed=seed,
            progress=progress,
        ).signs
    drawn = NextPointTask(steps, network, training, seed).model
    save_raw(drawn.eval(), folder, {"objective": "none", "seed": seed})
    return []


def _ours(score: TaskScore, name: str) -> TaskScore:
    """Call the model of that name ours."""
    return replace(score, model=OURS) if score.model == name else score
