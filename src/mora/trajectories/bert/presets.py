"""The sizes and options of the networks of ST-MoE-BERT."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, model_validator

from mora.config.section import Section
from mora.errors import ConfigError


class BertConfig(Section):
    """The shape of a network; the defaults are those of the released script.

    Source: He et al. 2024, ST-MoE-BERT, and its released command line. Options from
    ``mask_token`` on are not in it: their defaults leave the released network.

    Attributes:
        model_name: without experts, or with.
        num_location_ids: rows of the location table and columns of the logits.
        hidden_size: width of the trunk.
        hidden_layers: layers of BERT.
        attention_heads: heads of each layer of BERT.
        day_embedding_size: width of the vector of the day.
        time_embedding_size: width of the vector of the slot.
        day_of_week_embedding_size: width of the vector of the day of the week.
        weekday_embedding_size: width of the vector that tells weekends.
        location_embedding_size: width of the vector of the location.
        dropout: share of values dropped in training before the first self-attention.
        max_seq_length: positions that BERT has vectors for.
        input_seq_length: events of the history, at most.
        predict_seq_length: events to predict, at most.
        days: rows of the day table.
        slots: rows of the slot table.
        self_attention_heads: heads of the self-attention before BERT; None for as many
            as BERT has.
        bert_intermediate_size: width inside BERT's feed-forward; None for four times
            ``hidden_size``. The released network with experts always has 3072.
        bert_dropout: share of values, and of attention, dropped inside BERT.
        experts: number of experts.
        mask_token: future events carry a learned vector in place of the location, not
            zeros.
        log_delta: log(1 + delta) in place of delta, which can be hundreds of slots.
        padding_mask: no event attends to padding.
        top_k: experts that serve an event; None for all, weighed by the gate.
        balance_weight: of the loss that spreads events over the experts; 0 for none.
        prior: add the given log weights, times a learned scale, to the logits. The
            output layer then begins at zero: the untrained network is its prior.
        prior_histograms: ways to weigh the past in the given log weights; where there
            are more than one, each event has its own mixture of them.
        restrict_to_candidates: locations that are no candidates cannot be answered.
        location_input: what an event knows of its location: the learned vector of its
            id, the projected features of the place, or the sum of both. A network with
            neither table can be used in any city.
        location_output: how a location is scored: by a learned row of its own, or by
            the product with its projected features.
        place_features_size: columns of the given features of places; 0 for none.
    """

    model_name: Literal["MobilityBERT", "MobilityBERTMoE"] = "MobilityBERTMoE"
    num_location_ids: int = Field(40_000, ge=1)
    hidden_size: int = Field(768, ge=1)
    hidden_layers: int = Field(12, ge=1)
    attention_heads: int = Field(16, ge=1)
    day_embedding_size: int = Field(64, ge=1)
    time_embedding_size: int = Field(64, ge=1)
    day_of_week_embedding_size: int = Field(64, ge=1)
    weekday_embedding_size: int = Field(32, ge=1)
    location_embedding_size: int = Field(256, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    max_seq_length: int = Field(3648, ge=1)
    input_seq_length: int = Field(240, ge=1)
    predict_seq_length: int = Field(30, ge=1)
    days: int = Field(75, ge=1)
    slots: int = Field(48, ge=1)
    self_attention_heads: int | None = Field(None, ge=1)
    bert_intermediate_size: int | None = Field(None, ge=1)
    bert_dropout: float = Field(0.1, ge=0, lt=1)
    experts: int = Field(8, ge=1)
    mask_token: bool = False
    log_delta: bool = False
    padding_mask: bool = False
    top_k: int | None = Field(None, ge=1)
    balance_weight: float = Field(0.0, ge=0)
    prior: bool = False
    prior_histograms: int = Field(1, ge=1)
    restrict_to_candidates: bool = False
    location_input: Literal["table", "features", "both"] = "table"
    location_output: Literal["table", "features"] = "table"
    place_features_size: int = Field(0, ge=0)

    @property
    def own_attention_heads(self) -> int:
        """Give the heads of the self-attention before BERT."""
        return self.self_attention_heads or self.attention_heads

    @property
    def intermediate_size(self) -> int:
        """Give the width inside BERT's feed-forward."""
        return self.bert_intermediate_size or 4 * self.hidden_size

    @property
    def event_size(self) -> int:
        """Give the width of all that is known of an event, side by side."""
        delta = 1
        return (
            self.day_embedding_size
            + self.time_embedding_size
            + self.day_of_week_embedding_size
            + self.weekday_embedding_size
            + delta
            + self.location_embedding_size
        )

    @property
    def needs_place_features(self) -> bool:
        """Say whether features of the places must be given."""
        return self.location_input != "table" or self.location_output == "features"

    @model_validator(mode="after")
    def _sizes_fit(self) -> "BertConfig":
        for name in ("attention_heads", "own_attention_heads"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(
                    f"hidden_size {self.hidden_size} cannot be shared by "
                    f"{getattr(self, name)} heads; expected a multiple of "
                    f"{name.replace('own', 'self')}"
                )
        events = self.input_seq_length + self.predict_seq_length
        if events > self.max_seq_length:
            raise ValueError(
                f"input_seq_length and predict_seq_length add up to {events} events; "
                f"expected at most max_seq_length = {self.max_seq_length}"
            )
        if self.top_k is not None and self.top_k > self.experts:
            raise ValueError(
                f"top_k is {self.top_k}; expected at most experts = {self.experts}"
            )
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> "BertConfig":
        experts = self.top_k is not None or self.balance_weight > 0
        if experts and self.model_name == "MobilityBERT":
            raise ValueError(
                "top_k and balance_weight are about experts, and MobilityBERT has "
                "none; expected model_name MobilityBERTMoE"
            )
        if self.needs_place_features != (self.place_features_size > 0):
            raise ValueError(
                f"location_input {self.location_input!r}, location_output "
                f"{self.location_output!r} and place_features_size "
                f"{self.place_features_size}; expected place_features_size exactly "
                f"when one of the two uses features"
            )
        return self


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The published size; BERT's heads are passed, which the released code forgets.
        "faithful": {
            "hidden_size": 256,
            "hidden_layers": 24,
            "attention_heads": 16,
            "bert_intermediate_size": 3072,
        },
        # The defaults of the released script: of the published size it tells another
        # number of positions, 75 days of 48 slots.
        "faithful_script": {
            "max_seq_length": 3600,
            "hidden_size": 768,
            "hidden_layers": 12,
            "attention_heads": 16,
            "bert_intermediate_size": 3072,
        },
        # Small enough for a CPU.
        "improved": {
            "hidden_size": 128,
            "hidden_layers": 4,
            "attention_heads": 4,
            "day_embedding_size": 16,
            "time_embedding_size": 32,
            "day_of_week_embedding_size": 16,
            "weekday_embedding_size": 8,
            "location_embedding_size": 128,
            "max_seq_length": 270,
            "mask_token": True,
            "log_delta": True,
            "padding_mask": True,
            "prior": True,
        },
        # For trying things out.
        "tiny": {
            "num_location_ids": 20,
            "hidden_size": 16,
            "hidden_layers": 1,
            "attention_heads": 2,
            "day_embedding_size": 4,
            "time_embedding_size": 4,
            "day_of_week_embedding_size": 4,
            "weekday_embedding_size": 2,
            "location_embedding_size": 8,
            "max_seq_length": 16,
            "input_seq_length": 8,
            "predict_seq_length": 4,
            "experts": 3,
        },
    }
)


def bert_preset(name: str, **changes: Any) -> BertConfig:
    """Give the configuration of a preset.

    Args:
        name: ``faithful`` (published size), ``faithful_script`` (defaults of the
            released script), ``improved`` or ``tiny``.
        changes: options that differ from the preset.

    Raises:
        ConfigError: if there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"no preset {name!r} of ST-MoE-BERT; expected one of {', '.join(PRESETS)}."
        )
    return BertConfig(**{**PRESETS[name], **changes})
