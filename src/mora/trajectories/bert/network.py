"""ST-MoE-BERT: history and times in, a score for every location at every time out.

Source: He et al. 2024, ST-MoE-BERT, and its released code, whose defects are not kept:
the heads and sizes reach BERT, and the user id enters no table.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.trajectories.bert.encoder import Bert, SelfAttention
from mora.trajectories.bert.experts import MixtureOfExperts
from mora.trajectories.bert.inputs import (
    FEATURE_COLUMNS,
    NO_CANDIDATE,
    EventInputs,
    check_inputs,
)
from mora.trajectories.bert.presets import BertConfig

DAYS_OF_WEEK, DAY_KINDS = 7, 2


class MobilityBERT(nn.Module):
    """The trunk, and a linear layer to the locations.

    Each event becomes the vectors of its day, slot, day of the week and weekend flag,
    its delta, and the vector of its location (future: zeros), side by side; LayerNorm;
    the sum of two linear layers; dropout; self-attention; BERT.

    Args:
        config: sizes and options.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        columns = FEATURE_COLUMNS[config.model_name]
        self.columns = {name: column for column, name in enumerate(columns)}
        self._make_tables(config)
        size, width = config.hidden_size, config.event_size
        self.layer_norm = nn.LayerNorm(width)
        self.input_projection = nn.Linear(width, size)
        self.residual_fc = nn.Linear(width, size)
        self.dropout = nn.Dropout(config.dropout)
        self.self_attention = SelfAttention(size, config.own_attention_heads)
        self.bert = Bert(config)
        self._make_output(config)

    def _make_tables(self, config: BertConfig) -> None:
        self.day_embedding = nn.Embedding(config.days, config.day_embedding_size)
        self.time_embedding = nn.Embedding(config.slots, config.time_embedding_size)
        self.day_of_week_embedding = nn.Embedding(
            DAYS_OF_WEEK, config.day_of_week_embedding_size
        )
        self.weekday_embedding = nn.Embedding(DAY_KINDS, config.weekday_embedding_size)
        size = config.location_embedding_size
        if config.location_input != "features":
            self.location_embedding = nn.Embedding(config.num_location_ids, size)
        if config.location_input != "table":
            self.place_projection = nn.Linear(config.place_features_size, size)
        if config.mask_token:  # begins as the zeros of the released network
            self.mask_token = nn.Parameter(torch.zeros(size))

    def _make_output(self, config: BertConfig) -> None:
        size = config.hidden_size
        if config.location_output == "table":
            self.output_projection = nn.Linear(size, config.num_location_ids)
        else:
            self.place_output = nn.Linear(config.place_features_size, size)
        if config.prior:
            self._begin_as_the_prior()
            self.prior_scale = nn.Parameter(torch.ones(()))
            if config.prior_histograms > 1:
                self.prior_gate = nn.Linear(size, config.prior_histograms)
                nn.init.zeros_(self.prior_gate.weight)
                nn.init.zeros_(self.prior_gate.bias)

    def _begin_as_the_prior(self) -> None:
        """Let the network add nothing to its prior before it has learned something."""
        table = self.config.location_output == "table"
        last = self.output_projection if table else self.place_output
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, inputs: EventInputs) -> Float[Tensor, "batch predict locations"]:
        """Give the logits of every location at every event to predict.

        Args:
            inputs: a batch of windows.

        Raises:
            MoraError: if the batch does not fit the configuration.
        """
        return self.logits_and_balance_loss(inputs)[0]

    def logits_and_balance_loss(
        self, inputs: EventInputs
    ) -> tuple[Float[Tensor, "batch predict locations"], Float[Tensor, ""]]:
        """Give the logits, and what the use of the experts adds to the training loss.

        Args:
            inputs: a batch of windows.

        Returns:
            The logits and ``balance_weight`` times the balance loss; 0 without experts.

        Raises:
            MoraError: if the batch does not fit the configuration.
        """
        check_inputs(inputs, self.config)
        states, balance = self._read_out(self.encode(inputs), inputs.future_padding)
        logits = self._scores(states, inputs)
        if self.config.prior:
            prior = self._mix_priors(states, inputs.prior)
            logits = add_prior(logits, inputs.candidates, prior, self.prior_scale)
        if self.config.restrict_to_candidates:
            logits = restrict(logits, inputs.candidates)
        return logits, self.config.balance_weight * balance

    def _mix_priors(
        self,
        states: Float[Tensor, "batch predict hidden"],
        prior: Float[Tensor, "batch predict candidates histograms"],
    ) -> Float[Tensor, "batch predict candidates"]:
        """Give the log of the mixture of the weights, as the gate mixes each event."""
        if self.config.prior_histograms == 1:
            return prior[..., 0]
        shares = self.prior_gate(states).log_softmax(dim=-1)
        return torch.logsumexp(prior + shares[:, :, None, :], dim=-1)

    def encode(self, inputs: EventInputs) -> Float[Tensor, "batch predict hidden"]:
        """Give the last states of BERT at the events to predict."""
        ahead = inputs.future_features.shape[1]
        past = self._location_vectors(inputs)
        future = past.new_zeros(len(past), ahead, past.shape[2])
        if self.config.mask_token:
            future = future + self.mask_token
        events = torch.cat(
            [
                self._event_vectors(inputs.history_features, past),
                self._event_vectors(inputs.future_features, future),
            ],
            dim=1,
        )
        x = self.dropout(self.input_projection(events) + self.residual_fc(events))
        padding = inputs.padding() if self.config.padding_mask else None
        return self.bert(self.self_attention(x, padding), padding)[:, -ahead:]

    def _event_vectors(
        self,
        features: Int[Tensor, "batch events columns"],
        locations: Float[Tensor, "batch events width"],
    ) -> Float[Tensor, "batch events event_width"]:
        """Put all that is known of an event side by side, and normalise it."""
        column = {name: features[..., i] for name, i in self.columns.items()}
        delta = column["delta"][..., None].to(locations)
        parts = [
            self.day_embedding(column["day"]),
            self.time_embedding(column["slot"]),
            self.day_of_week_embedding(column["day_of_week"]),
            self.weekday_embedding(column["weekend"]),
            delta.log1p() if self.config.log_delta else delta,
            locations,
        ]
        return self.layer_norm(torch.cat(parts, dim=-1))

    def _location_vectors(
        self, inputs: EventInputs
    ) -> Float[Tensor, "batch history width"]:
        kind, ids = self.config.location_input, inputs.history_locations
        if kind == "table":
            return self.location_embedding(ids)
        projected = self.place_projection(self._place_features(inputs)[ids])
        if kind == "features":
            return projected
        return projected + self.location_embedding(ids)

    def _place_features(
        self, inputs: EventInputs
    ) -> Float[Tensor, "locations features"]:
        assert inputs.place_features is not None  # check_inputs has seen to it
        return inputs.place_features.to(self.layer_norm.weight)

    def _read_out(
        self,
        states: Float[Tensor, "batch predict hidden"],
        _padding: Bool[Tensor, "batch predict"] | None,
    ) -> tuple[Float[Tensor, "batch predict hidden"], Float[Tensor, ""]]:
        """Give the states that are scored, and the balance loss; here as they are."""
        return states, states.new_zeros(())

    def _scores(
        self, states: Float[Tensor, "batch predict hidden"], inputs: EventInputs
    ) -> Float[Tensor, "batch predict locations"]:
        if self.config.location_output == "table":
            return self.output_projection(states)
        places = self.place_output(self._place_features(inputs))
        return states @ places.T / math.sqrt(self.config.hidden_size)


class MobilityBERTMoE(MobilityBERT):
    """The trunk, a mixture of experts on the events to predict, and a linear layer.

    Args:
        config: sizes and options.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.moe = MixtureOfExperts(config.experts, config.hidden_size, config.top_k)

    def _read_out(
        self,
        states: Float[Tensor, "batch predict hidden"],
        padding: Bool[Tensor, "batch predict"] | None,
    ) -> tuple[Float[Tensor, "batch predict hidden"], Float[Tensor, ""]]:
        """Give the mixture of the experts' answers, and the balance loss."""
        return self.moe(states, padding)


def make_model(config: BertConfig, seed: int = 0) -> MobilityBERT:
    """Build the network that a configuration describes.

    Args:
        config: sizes and options.
        seed: of the initial weights.
    """
    kind = MobilityBERTMoE if config.model_name == "MobilityBERTMoE" else MobilityBERT
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)


def add_prior(
    logits: Float[Tensor, "batch predict locations"],
    candidates: Int[Tensor, "batch candidates"],
    prior: Float[Tensor, "batch predict candidates"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, "batch predict locations"]:
    """Add log weights to the logits of the candidates.

    Args:
        logits: of all locations.
        candidates: ids; ``NO_CANDIDATE`` fills up.
        prior: log weight of each candidate above that of any other location.
        scale: what the log weights are multiplied by; 0 leaves the logits.
    """
    filler = (candidates == NO_CANDIDATE)[:, None, :]
    added = (scale * prior).masked_fill(filler, 0.0).to(logits)
    ids = candidates.clamp(min=0)[:, None, :].expand_as(added)
    return logits.scatter_add(2, ids, added)


def restrict(
    logits: Float[Tensor, "batch predict locations"],
    candidates: Int[Tensor, "batch candidates"],
) -> Float[Tensor, "batch predict locations"]:
    """Set the logits of locations that are no candidates to minus infinity.

    Args:
        logits: of all locations.
        candidates: ids; ``NO_CANDIDATE`` fills up.
    """
    batch, _, locations = logits.shape
    # One place more than there are, for what fills up.
    barred = logits.new_ones(batch, locations + 1, dtype=torch.bool)
    ids = candidates.masked_fill(candidates == NO_CANDIDATE, locations)
    barred = barred.scatter(1, ids, False)[:, None, :locations]
    return logits.masked_fill(barred, -torch.inf)
