"""What the networks read: the events of a user before, and the times of those to come.

Features of an event are whole numbers in the columns of :data:`FEATURE_COLUMNS`:

========== =============================================================
day         day, from 0; HuMob has 75
slot        time of day in half-hours, from 0
user        only for ``MobilityBERTMoE``, which does not use it
day_of_week day modulo 7
weekend     1 where the day modulo 7 is 0 or 6, else 0
delta       slots since the user's event before; 0 at the first
========== =============================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mora.errors import MoraError
from mora.trajectories.bert.presets import BertConfig

FEATURE_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "MobilityBERT": ("day", "slot", "day_of_week", "weekend", "delta"),
        "MobilityBERTMoE": ("day", "slot", "user", "day_of_week", "weekend", "delta"),
    }
)
NO_CANDIDATE = -1  # fills up the candidates of users who have fewer
NO_TARGET = -100  # target that cross-entropy leaves out, as PyTorch has it


# Not frozen: Lightning Fabric copies arguments field by field.
@dataclass(eq=False)
class EventInputs:
    """A batch of windows: history and times in, one location an event to come out.

    Attributes:
        history_features: of the events before, oldest first.
        history_locations: ids of their locations, in ``[0, locations)``.
        future_features: of the events to predict, oldest first.
        history_padding: True where there is no event; padding comes first, so that the
            future has the same positions in every window. What it holds must be in
            range, and has no effect where ``padding_mask`` is on.
        future_padding: True where there is nothing to predict; comes last.
        candidates: ids of the locations that a window may answer, none twice in a row;
            :data:`NO_CANDIDATE` fills up.
        prior: log weight of each candidate at each event to come, above that of any
            other location (see :func:`log_prior`): those have 0. One for each way to
            weigh the past.
        place_features: features of every location, in the order of the ids. Another
            city is another table.
    """

    history_features: Int[Tensor, "batch history columns"]
    history_locations: Int[Tensor, "batch history"]
    future_features: Int[Tensor, "batch predict columns"]
    history_padding: Bool[Tensor, "batch history"] | None = None
    future_padding: Bool[Tensor, "batch predict"] | None = None
    candidates: Int[Tensor, "batch candidates"] | None = None
    prior: Float[Tensor, "batch predict candidates histograms"] | None = None
    place_features: Float[Tensor, "locations features"] | None = None

    def __len__(self) -> int:
        return len(self.history_locations)

    def padding(self) -> Bool[Tensor, "batch events"] | None:
        """Say of history and future together what is padding; None if nothing is."""
        if self.history_padding is None and self.future_padding is None:
            return None
        parts = [
            features.new_zeros(features.shape[:2], dtype=torch.bool)
            if given is None
            else given
            for given, features in (
                (self.history_padding, self.history_features),
                (self.future_padding, self.future_features),
            )
        ]
        return torch.cat(parts, dim=1)

    def to(self, device: torch.device | str) -> "EventInputs":
        """Give the same batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return EventInputs(
            **{k: v if v is None else v.to(device) for k, v in values.items()}
        )


def log_prior(
    weights: Float[Tensor, "batch predict candidates *histograms"], floor: float
) -> Float[Tensor, "batch predict candidates *histograms"]:
    """Give log weights above those of a place that was never visited, log(1 + w/floor).

    Args:
        weights: of each candidate, such as those of a user's own past; >= 0.
        floor: weight of a place that was never visited; > 0.

    Returns:
        0 where the weight is 0, log(2) where it is the floor.

    Raises:
        ValueError: if ``floor`` is not positive.
    """
    if floor <= 0:
        raise ValueError(f"floor must be positive, got {floor!r}.")
    return torch.log1p(weights / floor)


def reachable_targets(
    targets: Int[Tensor, "batch predict"], candidates: Int[Tensor, "batch candidates"]
) -> Int[Tensor, "batch predict"]:
    """Replace targets that are no candidates by :data:`NO_TARGET`.

    Their cross-entropy under ``restrict_to_candidates`` is infinite.

    Args:
        targets: ids of the locations to predict.
        candidates: of each window.
    """
    found = (targets[:, :, None] == candidates[:, None, :]).any(dim=2)
    return targets.masked_fill(~found, NO_TARGET)


def check_inputs(inputs: EventInputs, config: BertConfig) -> None:
    """Refuse a batch that the network cannot read.

    Raises:
        MoraError: if something that ``config`` asks for is missing, a window is too
            long or empty, or a feature or id is out of range.
    """
    _check_present(inputs, config)
    _check_sizes(inputs, config)
    _check_windows(inputs, config)
    features = torch.cat([inputs.history_features, inputs.future_features], dim=1)
    ends = {"day": config.days, "slot": config.slots, "day_of_week": 7, "weekend": 2}
    for column, name in enumerate(FEATURE_COLUMNS[config.model_name]):
        if name != "user":
            _check_range(name, features[:, :, column], 0, ends.get(name))
    locations = location_count(inputs, config)
    _check_range("location", inputs.history_locations, 0, locations)
    if inputs.candidates is not None:
        _check_range("candidate", inputs.candidates, NO_CANDIDATE, locations)


def location_count(inputs: EventInputs, config: BertConfig) -> int:
    """Give the number of locations: of the tables, or of the places with features."""
    if config.location_output == "table" or config.location_input != "features":
        return config.num_location_ids
    assert inputs.place_features is not None  # checked before
    return len(inputs.place_features)


def _check_present(inputs: EventInputs, config: BertConfig) -> None:
    wanted = {
        "prior": config.prior,
        "candidates": config.prior or config.restrict_to_candidates,
        "place_features": config.needs_place_features,
    }
    missing = [n for n, on in wanted.items() if on and getattr(inputs, n) is None]
    if missing:
        raise MoraError(
            f"the windows have no {' and no '.join(missing)}; expected them with the "
            f"options of this network. Give them, or switch the options off."
        )


def _check_sizes(inputs: EventInputs, config: BertConfig) -> None:
    places = inputs.place_features
    sizes = [
        ("columns", inputs.history_features.shape[2], _columns(config), True),
        ("history events", inputs.history_locations.shape[1], config.input_seq_length),
        ("future events", inputs.future_features.shape[1], config.predict_seq_length),
    ]
    if config.prior and inputs.prior is not None:
        histograms = (inputs.prior.shape[3], config.prior_histograms)
        sizes.append(("histograms in the prior", *histograms, True))
    if places is not None and config.needs_place_features:
        width = config.place_features_size
        sizes.append(("columns of place features", places.shape[1], width, True))
        count = location_count(inputs, config)
        sizes.append(("rows of place features", len(places), count, True))
    for name, got, wanted, *exact in sizes:
        if got > wanted or (exact and got != wanted):
            raise MoraError(
                f"the windows have {got} {name}; {config.model_name} expects "
                f"{'' if exact else 'at most '}{wanted}. Cut the windows as the "
                f"configuration of the network says."
            )


def _check_windows(inputs: EventInputs, config: BertConfig) -> None:
    """Refuse windows without events, candidates or finite priors where they count."""
    empty: dict[str, Tensor] = {}
    padding = inputs.padding()
    if padding is not None:
        empty["events, only padding"] = padding.all(dim=1)
    if config.restrict_to_candidates and inputs.candidates is not None:
        empty["candidates"] = (inputs.candidates == NO_CANDIDATE).all(dim=1)
    if config.prior and inputs.prior is not None:
        empty["finite prior"] = ~inputs.prior.isfinite().flatten(1).all(dim=1)
    for name, rows in empty.items():
        if rows.any():
            raise MoraError(
                f"{int(rows.sum())} of {len(rows)} windows have no {name} (first: "
                f"{rows.nonzero()[:3, 0].tolist()}). Leave these windows out, or give "
                f"them some."
            )


def _columns(config: BertConfig) -> int:
    return len(FEATURE_COLUMNS[config.model_name])


def _check_range(name: str, values: Tensor, low: int, end: int | None) -> None:
    """Refuse values outside ``[low, end)``."""
    bad = values < low
    if end is not None:
        bad = bad | (values >= end)
    if bad.any():
        wanted = f"{low} or more" if end is None else f"{low} to {end - 1}"
        raise MoraError(
            f"{int(bad.sum())} of {values.numel()} events have a {name} out of range "
            f"(first: {values[bad][:3].tolist()}); expected {wanted}. Correct them, or "
            f"enlarge the table in the configuration of the network."
        )
