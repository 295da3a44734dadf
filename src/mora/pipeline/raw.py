"""RAW, step by step: pretrain, embed users and regions, forecast, evaluate."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mora.embeddings import Embeddings
from mora.personal import mark_personal
from mora.pipeline.display import Display
from mora.pipeline.folder import file_checksum
from mora.pipeline.raw_config import RawRunConfig
from mora.pipeline.raw_people import People, read_people
from mora.pipeline.raw_scores import (
    OURS,
    find_presence,
    forecast_errors,
    profile_scores,
    region_scores,
    scores_of_errors,
    write_gains,
)
from mora.pipeline.steps import Step, do_step
from mora.progress import Progress
from mora.tables.visits import hash_users
from mora.trajectories.raw.contrastive import pretrain_contrastive
from mora.trajectories.raw.evaluation import Evaluation
from mora.trajectories.raw.forecast import forecast
from mora.trajectories.raw.inputs import study_box
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.pretraining import (
    FailureSignWarning,
    NextPointTask,
    pretrain_raw,
)
from mora.trajectories.raw.regions import pool_regions
from mora.trajectories.raw.saved import load_raw, save_raw
from mora.trajectories.raw.steps import Steps
from mora.trajectories.raw.user_vectors import embed_users, write_user_vectors

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
            with self.display.bar("Training", "steps") as progress, catch_warnings():
                simplefilter("ignore", FailureSignWarning)  # said below
                signs = _pretrain(config, steps, folder, progress)
            for sign in signs:
                self.display.say(f"  Warning: {sign}")
            return {"users": len(steps.users), "signs": signs}

        return self._do("train", "Pretraining RAW", work, {})

    def network(self) -> RawNetwork:
        """Give the pretrained network."""
        self.train()
        network = load_raw(self.home / "train")
        if self.config.pretrained is not None:
            own = self._own_steps()
            box = study_box(own.lonlat[own.known])
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
        people = read_people(other)  # as many as of the own users, for comparison
        return people.steps.take_users(np.flatnonzero(~people.test))

    def embed_users(self) -> Path:
        """Write a vector for every user, under hashed ids, to a personal folder."""
        network, kind = self.network(), self.config.heads.vectors

        def work(folder: Path) -> dict[str, Any]:
            salt = secrets.token_bytes(16)
            with self.display.bar("Embedding users", "users") as bar:
                write_user_vectors(
                    network, self.people.steps, folder, salt, pooling=kind, progress=bar
                )
            (folder / "salt").write_text(salt.hex())  # who has it can find own users
            return {"users": len(self.people.steps.users)}

        self._do("users", "Vectors of users", work, {"vectors": kind})
        return self.home / "users"

    def embed_regions(self) -> Embeddings:
        """Write ``embeddings.parquet`` of the regions, as MoRA does of its places."""
        given, kind = self.config.regions, self.config.heads.vectors
        vectors = embed_users(self.network(), self.people.steps, pooling=kind)
        presence = find_presence(self.config, self.people)
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
        config, people, network = self.config, self.people, self.network()
        signs = self.train()["signs"]
        scores = profile_scores(config, people, network, self.display)
        scores += region_scores(config, people, network, self.display)
        if config.pretraining == "forecast":
            errors = forecast_errors(config, people, network)
            write_gains(errors, self.home)
            scores += scores_of_errors(errors)
        evaluation = Evaluation(scores, OURS, signs)
        evaluation.write(self.home)
        return evaluation

    def _do(
        self,
        name: str,
        title: str,
        work: Callable[[Path], dict[str, Any]],
        more: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Do one step, which depends on what the network does, on files, and more."""
        settings = self.config.model_dump(mode="json", include=set(TRAINED_BY))
        given = (self.config.traces, self.config.pretrained)
        tables = [traces.table for traces in given if traces is not None]
        files = [file_checksum(Path(str(t.path))) for t in tables if t is not None]
        depends = {**settings, "files": files, **more}
        return do_step(Step(name, title, depends, work), self.home, self.display)


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
