"""Small batches of windows that tests of ST-MoE-BERT share."""

from pathlib import Path

import numpy as np
import torch

from mora.trajectories.bert.inputs import FEATURE_COLUMNS, EventInputs
from mora.trajectories.bert.network import make_model
from mora.trajectories.bert.presets import bert_preset
from mora.trajectories.bert.released import UNUSED, set_weights, sizes_of

GOLDEN = Path(__file__).parent / "golden"
# Heads of BERT and of the self-attention before it, which no weight tells.
GOLDEN_HEADS = {"st_moe_bert": (12, 4), "mobility_bert": (4, 4)}
PLACES, WIDTH = 20, 3  # locations of the tiny preset; columns of their features


def random_windows(
    model_name="MobilityBERTMoE", batch=3, history=8, predict=4, seed=0, **extra
):
    """Windows with random events; ``extra`` are further fields."""
    generator = torch.Generator().manual_seed(seed)
    ends = {"day": 75, "slot": 48, "user": 9, "day_of_week": 7, "weekend": 2}

    def features(events):
        return torch.stack(
            [
                torch.randint(ends.get(name, 30), (batch, events), generator=generator)
                for name in FEATURE_COLUMNS[model_name]
            ],
            dim=-1,
        )

    past, future = features(history), features(predict)
    locations = torch.randint(PLACES, (batch, history), generator=generator)
    return EventInputs(past, locations, future, **extra)


def full_extras(batch=3, history=8, predict=4):
    """Everything a window may have beside its events: used by some option each."""
    generator = torch.Generator().manual_seed(1)
    padding = torch.zeros(batch, history, dtype=torch.bool)
    padding[0, :3] = True
    candidates = torch.tensor([[0, 3, 5], [1, 2, -1], [7, 19, 4]])[:batch]
    return {
        "history_padding": padding,
        "candidates": candidates,
        "prior": torch.rand(batch, predict, 3, 1, generator=generator),
        "place_features": torch.randn(PLACES, WIDTH, generator=generator),
    }


def tiny_model(seed=0, **changes):
    """The tiny network, ready to predict."""
    return make_model(bert_preset("tiny", **changes), seed).eval()


def golden_weights(name):
    """The weights of a golden file, by their released names."""
    with np.load(GOLDEN / f"{name}_reference_forward.npz") as file:
        names = [n for n in file.files if n.startswith("weight.")]
        return {n.removeprefix("weight."): torch.from_numpy(file[n]) for n in names}


def golden_model(name):
    """The network of a golden file, ready to predict."""
    weights = {n: v for n, v in golden_weights(name).items() if n not in UNUSED}
    heads, own = GOLDEN_HEADS[name]
    sizes = {**sizes_of(weights), "input_seq_length": 40, "predict_seq_length": 10}
    config = bert_preset(
        "tiny", **{**sizes, "attention_heads": heads, "self_attention_heads": own}
    )
    model = make_model(config)
    set_weights(model, weights)
    return model.eval()


def golden_case(name):
    """The windows of a golden file, and the logits the reference gives for them."""
    with np.load(GOLDEN / f"{name}_reference_forward.npz") as file:
        names = ("history_features", "history_locations", "future_features", "logits")
        *parts, logits = (torch.from_numpy(file[n]) for n in names)
        return EventInputs(*parts), logits
