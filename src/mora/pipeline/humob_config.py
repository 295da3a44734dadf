"""What `mora humob` is told: cities, a network, training and how it answers."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from mora.config import TrainingConfig, validate_settings
from mora.config.loading import merge
from mora.config.section import Section
from mora.trajectories.bert.improved import improved_settings
from mora.trajectories.bert.place_vectors import PlaceVectorConfig
from mora.trajectories.bert.prediction import PredictionConfig
from mora.trajectories.bert.presets import BertConfig, bert_preset
from mora.trajectories.bert.task import LearningConfig
from mora.trajectories.generator.city_config import CityConfig
from mora.trajectories.humob.baselines import BASELINES


def _plain(value: Any) -> Any:
    """Give what a section was told, without its defaults."""
    return value.model_dump(exclude_unset=True) if isinstance(value, Section) else value


class CityInput(Section):
    """Events of one city: from files, or generated.

    Attributes:
        path: CSV of ``uid,d,t,x,y``; 999 in x and y asks for a prediction.
        truth: the same with the true places of what is asked for; without it nothing is
            scored.
        categories: CSV of ``x,y,category,POI_count``, for place vectors.
        first_day: number of the first day in the files: 0, or 1 as in 2025.
        generated: settings of a generated city, instead of files.
        target_users: of a city without masked events (such as a generated one), the
            last so many users whose target days are hidden and asked for.
        leave_out: days, from 0, whose events are left out, such as day 26.
    """

    path: str | None = None
    truth: str | None = None
    categories: str | None = None
    first_day: int = Field(0, ge=0)
    generated: CityConfig | None = None
    target_users: int | None = Field(None, ge=1)
    leave_out: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> "CityInput":
        if (self.path is None) == (self.generated is None):
            raise ValueError("expected either path or generated, and not both")
        return self


class FinetuningConfig(Section):
    """What tuning to a city changes of the training.

    Attributes:
        learning_rate: its highest value; None for that of the training.
        epochs: at most; None for those of the training.
    """

    learning_rate: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1)

    def over(self, training: TrainingConfig) -> TrainingConfig:
        """Give the settings of the loop for tuning."""
        own = {k: v for k, v in self.model_dump().items() if v is not None}
        return training.model_copy(update=own)


class HumobConfig(Section):
    """Everything `mora humob` is told.

    Attributes:
        name: of the run; its folder is ``runs/NAME`` unless ``folder`` says otherwise.
        folder: where the run is kept.
        seed: of everything drawn by chance.
        cities: events by the name of the city.
        pretrain: the city that the network is trained on first.
        first_target_day: first day to predict, from 0.
        days: that the events span; the days from ``first_target_day`` are predicted.
        preset: of the network; ``network`` goes over it. ``improved`` also has settings
            of learning and prediction, which those given go over.
        network: sizes and options of the network.
        learning: windows, candidates and the training loop.
        finetuning: what tuning to another city changes.
        place_vectors: vectors of places from heads that are trained on all cities
            together; the network then reads them. Every city needs categories.
        prediction: how places are chosen.
        baselines: what is scored beside the network.
        variant: of the metrics.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    folder: str | None = None
    seed: int = Field(0, ge=0)
    cities: dict[str, CityInput] = Field(min_length=1)
    pretrain: str = "A"
    first_target_day: int = Field(60, ge=1)
    days: int = Field(75, ge=2)
    preset: str = "improved"
    network: dict[str, Any] = Field(default_factory=dict)
    learning: LearningConfig = LearningConfig()
    finetuning: FinetuningConfig = FinetuningConfig()
    place_vectors: PlaceVectorConfig | None = None
    prediction: PredictionConfig = PredictionConfig()
    baselines: tuple[str, ...] = tuple(BASELINES)
    variant: Literal["humob2024", "giscup2025"] = "humob2024"

    @model_validator(mode="before")
    @classmethod
    def _over_the_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        _refuse_overruled(given)
        below = improved_settings(given.get("preset", "improved"))
        own = {key: _plain(value) for key, value in given.items() if key in below}
        return {**given, **merge(below, own)}

    @model_validator(mode="after")
    def _known_city(self) -> "HumobConfig":
        if self.pretrain not in self.cities:
            raise ValueError(
                f"pretrain is {self.pretrain!r}; expected one of the cities "
                f"{', '.join(self.cities)}"
            )
        return self

    @model_validator(mode="after")
    def _days_in_order(self) -> "HumobConfig":
        if self.first_target_day >= self.days:
            raise ValueError(
                f"first_target_day is {self.first_target_day} of {self.days} days; "
                f"expected a day before the last"
            )
        return self

    def bert(self) -> BertConfig:
        """Give the network's configuration: the preset, and what goes over it."""
        own = {"days": self.days, **self.network}
        if self.place_vectors is not None:
            own = {
                "place_features_size": self.place_vectors.dim,
                "location_input": "both",
                **own,
            }
        preset = bert_preset(self.preset).model_dump()
        return validate_settings(preset | own, "network", BertConfig)


def _refuse_overruled(given: Mapping[str, Any]) -> None:
    """Refuse settings below a section that the run itself settles."""
    for section, key in (
        ("learning", "network"),
        ("learning", "seed"),
        ("learning", "prediction"),
        ("place_vectors", "seed"),
    ):
        part = given.get(section)
        if isinstance(part, Mapping) and key in part:
            raise ValueError(
                f"{section}.{key} would change nothing; expected `{key}:` of the run"
            )
