"""HuMob, step by step: train on one city, tune to others, predict, score."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int

from mora.errors import ConfigError
from mora.personal import mark_personal
from mora.pipeline.display import Display
from mora.pipeline.folder import file_checksum
from mora.pipeline.humob_cities import City, known_users, read_city
from mora.pipeline.humob_config import CityInput, HumobConfig
from mora.pipeline.humob_places import learn_places, vectors_of_places
from mora.pipeline.steps import Step, do_step
from mora.trajectories.bert.held_out import hold_out
from mora.trajectories.bert.learning import LearnedBert, finetune_bert, train_bert
from mora.trajectories.bert.prediction import predict_events
from mora.trajectories.bert.task import LearningConfig
from mora.trajectories.bert.trained import read_bert
from mora.trajectories.humob.baselines import predict
from mora.trajectories.humob.scoring import PairedTable, compare
from mora.trajectories.humob.submission import write_submission

Predictor = Literal["recommended", "network", "medoid"]
NETWORK, REFERENCE = "ST-MoE-BERT", "medoid"
# Settings that the result of a step does not depend on.
IGNORED = {
    "places": (
        "baselines",
        "variant",
        "prediction",
        "finetuning",
        "learning",
        "preset",
        "network",
    ),
    "train": ("baselines", "variant", "finetuning"),
    "finetune": ("baselines", "variant"),
    "choose": ("baselines",),
    "predict": ("baselines", "variant"),
}
NOTE = """Where single people are predicted to be, in the order of what was asked. Do
not publish it: whoever has the challenge's file can tell who is who.
"""


@dataclass(frozen=True)
class HumobRun:
    """A run of `mora humob`: each step has a folder, and is done once.

    Attributes:
        config: what it is told.
        home: folder of the run.
        display: what shows text and progress.
    """

    config: HumobConfig
    home: Path
    display: Display = field(default_factory=Display)
    _read: dict[str, City] = field(default_factory=dict, init=False, repr=False)

    def city(self, name: str) -> City:
        """Give a city, read when it is first asked for."""
        if name not in self._read:
            self._read[name] = read_city(name, self.config)
        return self._read[name]

    @cached_property
    def learning(self) -> LearningConfig:
        """Give the settings of training on the first city."""
        told = {
            "network": self.config.bert(),
            "seed": self.config.seed,
            "prediction": self.config.prediction,
        }
        return self.config.learning.model_copy(update=told)

    def place_features(self, city: str) -> Float32[np.ndarray, "tokens dim"] | None:
        """Give vectors of a city's places that mean the same in every city.

        Returns:
            None where the configuration asks for none.

        Raises:
            ConfigError: if a city has no points of interest.
        """
        given = self.config.place_vectors
        if given is None:
            return None
        config = given.model_copy(update={"seed": self.config.seed})

        def work(folder: Path) -> dict[str, Any]:
            cities = [self.city(name) for name in self.config.cities]
            return learn_places(cities, config, folder, self.display)

        self._do("places-all", "Vectors of places of", work)
        return vectors_of_places(self.home / "places-all", self.city(city))

    def train(self) -> dict[str, Any]:
        """Train the network on the first city; see :func:`train_bert`."""
        features = self.place_features(self.config.pretrain)

        def work(folder: Path) -> dict[str, Any]:
            with self.display.bar("Training", "steps") as progress:
                learned = train_bert(
                    self.city(self.config.pretrain).history,
                    self.learning,
                    folder,
                    place_features=features,
                    progress=progress,
                )
            return _facts(learned)

        return self._do(f"train-{self.config.pretrain}", "Training on city", work)

    def finetune(self, city: str) -> dict[str, Any]:
        """Tune the network to another city; see :func:`finetune_bert`."""
        self.train()
        if city == self.config.pretrain:
            raise ConfigError(
                f"city {city} is the one that the network is trained on; expected "
                f"another of {', '.join(self.config.cities)}."
            )
        features = self.place_features(city)
        tuned = self.config.finetuning.over(self.learning.training)
        learning = self.learning.model_copy(update={"training": tuned})

        def work(folder: Path) -> dict[str, Any]:
            with self.display.bar("Tuning", "steps") as progress:
                learned = finetune_bert(
                    self._trained(self.config.pretrain),
                    self.city(city).history,
                    learning,
                    folder,
                    place_features=features,
                    progress=progress,
                )
            return _facts(learned)

        return self._do(f"finetune-{city}", "Tuning to city", work)

    def predict(
        self, city: str, model: Predictor = "recommended"
    ) -> Int[np.ndarray, " events"]:
        """Predict every event that is asked for in a city.

        Args:
            city: its name.
            model: the network, the medoid, or what did better on the days held out of
                training.

        Returns:
            A token for each event of ``cities[city].wanted``.
        """
        if model == "recommended":
            choice = self.choose(city)
            self.display.say(f"  city {city}: {choice['because']}")
            model = "network" if choice["recommended"] == NETWORK else "medoid"
        asked = self.city(city)
        if model == "medoid":
            return predict(REFERENCE, asked.history, asked.wanted)
        self._learn(city)
        self._do(f"predict-{city}", "Predicting city", self._predictor(city))
        return np.load(self.home / f"predict-{city}" / "tokens.npy")

    def submit(
        self, city: str, model: Predictor, to: Path, team: str, rules: str
    ) -> Path:
        """Write a submission of the challenge, with the organisers' user ids.

        Args:
            city: its name.
            model: as in :meth:`predict`.
            to: folder of the file.
            team: name of the team, part of the file's name.
            rules: year of the challenge, such as ``humob2024``.

        Returns:
            The file.
        """
        tokens = self.predict(city, model)
        to.mkdir(parents=True, exist_ok=True)
        asked = self.city(city).wanted
        predicted = asked.with_tokens(tokens.astype(np.int32))
        return write_submission(predicted, asked, to, team, f"city{city}", rules)

    def score(self, cities: list[str] | None = None) -> dict[str, PairedTable]:
        """Score the network beside the baselines, by city; write ``scores.md``.

        Args:
            cities: which; by default all whose truth is known.
        """
        every = self.config.cities
        names = cities or [n for n in every if self.city(n).truth is not None]
        tables = {name: self._score(name) for name in names}
        text = [f"## City {name}\n\n{t.to_markdown()}" for name, t in tables.items()]
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "scores.md").write_text("\n".join(text))
        for name, table in tables.items():
            (self.home / f"scores-{name}.csv").write_text(table.to_csv())
        return tables

    def _score(self, name: str) -> PairedTable:
        city = self.city(name)
        if city.truth is None:
            raise ConfigError(
                f"city {name} has no truth; expected `truth:` or `target_users:` for "
                f"it. Without, `mora humob predict` writes predictions alone."
            )
        found = {NETWORK: self.predict(name, "network")}
        for baseline in dict.fromkeys((REFERENCE, *self.config.baselines)):
            found[baseline] = predict(baseline, city.history, city.wanted)
        return compare(found, city.truth, REFERENCE, self.config.variant)

    def _predictor(self, name: str) -> Any:
        """Give the work that predicts a city with the network."""

        def work(folder: Path) -> dict[str, Any]:
            mark_personal(folder, NOTE)
            city, known = self.city(name), known_users(self.city(name))
            # Of whom nothing is known, the place of most events is the best guess.
            tokens = predict("city_mode", city.history, city.wanted)
            trained = read_bert(self._trained(name), city.history.tokens)
            with self.display.bar("Predicting", "users") as progress:
                answers = predict_events(
                    trained,
                    city.history,
                    known.wanted,
                    self.config.prediction,
                    folder=folder / "parts",
                    progress=progress,
                )
            rows = np.isin(city.wanted.users, known.wanted.users)
            tokens[rows[city.wanted.user_rows()]] = answers
            np.save(folder / "tokens.npy", tokens)
            return {"users": len(city.wanted.users), "events": len(tokens)}

        return work

    def choose(self, city: str) -> dict[str, Any]:
        """Compare network and medoid on the days held out of training."""
        self._learn(city)

        def work(_folder: Path) -> dict[str, Any]:
            learning = self.learning
            held = hold_out(
                self.city(city).history,
                learning.validation_share,
                learning.held_out_days,
                learning.seed,
            )
            trained = read_bert(self._trained(city), held.history.tokens)
            found = {
                NETWORK: predict_events(
                    trained, held.history, held.wanted, self.config.prediction
                ),
                REFERENCE: predict(REFERENCE, held.history, held.wanted),
            }
            table = compare(found, held.wanted, REFERENCE, self.config.variant)
            return _choice(table)

        return self._do(f"choose-{city}", "Choosing what predicts city", work)

    def _learn(self, city: str) -> dict[str, Any]:
        """Have a network for a city."""
        return self.train() if city == self.config.pretrain else self.finetune(city)

    def _trained(self, city: str) -> Path:
        kind = "train" if city == self.config.pretrain else "finetune"
        return self.home / f"{kind}-{city}"

    def _do(self, name: str, title: str, work: Any) -> dict[str, Any]:
        """Do one step of a city."""
        kind, city = name.split("-", 1)
        settings = self.config.model_dump(mode="json", exclude={"name", "folder"})
        every = set(self.config.cities)
        needed = every if self.config.place_vectors else {self.config.pretrain, city}
        cities = {key: settings["cities"][key] for key in sorted(needed)}
        own = {k: v for k, v in settings.items() if k not in IGNORED[kind]}
        sums = {key: _checksums(self.config.cities[key]) for key in sorted(needed)}
        depends = {**own, "cities": cities, "files": sums}
        return do_step(
            Step(name, f"{title} {city}", depends, work), self.home, self.display
        )


def _facts(learned: LearnedBert) -> dict[str, Any]:
    return {
        "history": learned.state.history,
        "best_epoch": learned.state.best_epoch,
        "skipped_users": len(learned.skipped),
    }


def _choice(table: PairedTable) -> dict[str, Any]:
    """Recommend what does better on held-out days, and say why."""
    gain = table.find(NETWORK, "geo_bleu")
    better = NETWORK if gain.difference > 0 else REFERENCE
    because = (
        f"{better} is recommended: GEO-BLEU of {gain.users} users' held-out days is "
        f"{gain.mean:.4f} for the network, {gain.difference:+.4f} ± "
        f"{gain.difference_error:.4f} against the medoid"
    )
    return {"recommended": better, "because": because, "difference": gain.difference}


def _checksums(given: CityInput) -> dict[str, str]:
    paths = {"path": given.path, "truth": given.truth, "categories": given.categories}
    return {k: file_checksum(Path(p)) for k, p in paths.items() if p is not None}
