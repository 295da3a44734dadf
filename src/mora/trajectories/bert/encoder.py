"""BERT over vectors that are given, and the self-attention before it.

Source: Devlin et al. 2019, BERT; Vaswani et al. 2017, eq. 1. Parameters have the names
of the released weights.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mora.trajectories.bert.presets import BertConfig

LAYER_NORM_EPS = 1e-12  # BERT's
INITIAL_STD = 0.02  # of BERT's weights

States = Float[Tensor, "batch events size"]
Padding = Bool[Tensor, "batch events"]


class Attention(nn.Module):
    """Attention of all events to all events, in several heads.

    Args:
        size: width of the states; a multiple of ``heads``.
        heads: how many.
        dropout: share of the attention that is dropped in training.
    """

    def __init__(self, size: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.heads, self.dropout = heads, dropout

    def forward(self, x: States, padding: Padding | None = None) -> States:
        """Mix the values of the events that each event attends to.

        Args:
            x: states.
            padding: True where no event may look.
        """
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        visible = None if padding is None else ~padding[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout
        )
        return mixed.transpose(1, 2).flatten(2)


class SelfAttention(Attention):
    """The layer before BERT: LayerNorm(x + W attention(x)), without dropout.

    Source: the released code of ST-MoE-BERT.

    Args:
        size: width of the states.
        heads: how many.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__(size, heads)
        self.dense = nn.Linear(size, size)
        self.layer_norm = nn.LayerNorm(size)

    def forward(self, x: States, padding: Padding | None = None) -> States:
        """Give the states after every event has looked at the others."""
        return self.layer_norm(x + self.dense(super().forward(x, padding)))


class AddAndNormalise(nn.Module):
    """What closes both halves of a layer of BERT: LayerNorm(x + dropout(W y)).

    Args:
        inputs: width of y.
        size: width of x.
        dropout: share of W y that is dropped in training.
    """

    def __init__(self, inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, size)
        self.dropout = nn.Dropout(dropout)
        self.LayerNorm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)

    def forward(self, x: States, y: Float[Tensor, "batch events inputs"]) -> States:
        """Add what a half of a layer found to what went into it."""
        return self.LayerNorm(x + self.dropout(self.dense(y)))


class BertLayer(nn.Module):
    """Attention, then two linear layers with exact GELU; post-norm.

    Args:
        config: sizes, heads and dropout.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size, dropout = config.hidden_size, config.bert_dropout
        self.attention = nn.ModuleDict(
            {
                "self": Attention(size, config.attention_heads, dropout),
                "output": AddAndNormalise(size, size, dropout),
            }
        )
        wide = config.intermediate_size
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, wide)})
        self.output = AddAndNormalise(wide, size, dropout)

    def forward(self, x: States, padding: Padding | None = None) -> States:
        """Give the states after this layer."""
        x = self.attention["output"](x, self.attention["self"](x, padding))
        return self.output(x, F.gelu(self.intermediate["dense"](x)))


class BertEmbeddings(nn.Module):
    """Positions and the one type of token there is, added to given vectors.

    Args:
        config: width, longest sequence and dropout.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.position_embeddings = nn.Embedding(config.max_seq_length, size)
        self.token_type_embeddings = nn.Embedding(2, size)  # the second is never used
        self.LayerNorm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.bert_dropout)

    def forward(self, x: States) -> States:
        """Give vectors that know their position, counted from the first event."""
        positions = self.position_embeddings.weight[: x.shape[1]]
        kind = self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(x + positions + kind))


class Bert(nn.Module):
    """BERT without words: vectors in, states out.

    Args:
        config: layers, heads, sizes and dropout.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        layers = nn.ModuleList(BertLayer(config) for _ in range(config.hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.apply(_initialise)

    def forward(self, x: States, padding: Padding | None = None) -> States:
        """Give the state of every event after the last layer."""
        x = self.embeddings(x)
        for layer in self.encoder["layer"]:
            x = layer(x, padding)
        return x


def _initialise(module: nn.Module) -> None:
    """Draw weights as BERT does: normal with deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
