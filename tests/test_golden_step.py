"""Numbers of the reference implementation: normalisation, loss, gradients, AdamW."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mora.config import TrainingConfig
from mora.encoder.heads import make_head
from mora.encoder.lightgcn import LightGCN, Propagation
from mora.encoder.model import AlignedModel, ModalityBatch
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph
from mora.training.loop import make_optimiser

GOLDEN = np.load(Path(__file__).parent / "golden" / "mora_reference_step.npz")
THEIRS = {
    "mobility.features": "mob_lightgcn.ebds",
    "heads.poi.weight": "poihead.head.weight",
    "heads.poi.bias": "poihead.head.bias",
    "heads.demographics.0.weight": "demo_encoder.fc1.weight",
    "heads.demographics.0.bias": "demo_encoder.fc1.bias",
    "heads.demographics.2.weight": "demo_encoder.fc2.weight",
    "heads.demographics.2.bias": "demo_encoder.fc2.bias",
    "heads.imagery.weight": "imagehead.head.weight",
    "heads.imagery.bias": "imagehead.head.bias",
}
MODALITIES = ("poi", "demographics", "imagery")


@pytest.fixture(scope="module")
def operator():
    ends = (GOLDEN["adj_row"], GOLDEN["adj_col"])
    weight = sp.csr_array((GOLDEN["adj_weight"], ends), shape=(96, 96))
    graph = MobilityGraph.from_matrix(sp.csr_array(sp.triu(weight)))
    return normalise(graph)


@pytest.fixture
def model(operator):
    generator = torch.Generator().manual_seed(0)
    heads = {
        name: make_head(
            "mlp" if name == "demographics" else "linear",
            GOLDEN[name].shape[1],
            16,
            generator,
        )
        for name in MODALITIES
    }
    temperatures = {name: float(GOLDEN[f"temperature_{name}"]) for name in MODALITIES}
    line = torch.from_numpy(GOLDEN["line_init"])
    model = AlignedModel(LightGCN(line, Propagation(*operator)), heads, temperatures)
    initial = {
        k: torch.from_numpy(GOLDEN[f"init.{theirs}"]) for k, theirs in THEIRS.items()
    }
    model.load_state_dict(initial)
    return model


@pytest.fixture(scope="module")
def modalities():
    present = torch.ones(96, dtype=torch.bool)
    return {
        name: ModalityBatch(torch.from_numpy(GOLDEN[name]), present)
        for name in MODALITIES
    }


BATCH = torch.from_numpy(GOLDEN["batch"])


def test_normalisation(operator):
    indptr, indices, data = operator
    ours = sp.csr_array((data, indices, indptr), shape=(96, 96)).toarray()
    theirs = np.zeros((96, 96), np.float32)
    theirs[GOLDEN["norm_row"], GOLDEN["norm_col"]] = GOLDEN["norm_val"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_mobility_embedding(model):
    ours = model.mobility()[BATCH].detach().numpy()
    expected = GOLDEN["mobility_embedding_batch"]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_loss_and_every_gradient(model, modalities):
    loss = model(BATCH, modalities)
    assert loss.item() == pytest.approx(float(GOLDEN["loss"]), rel=1e-6)
    loss.backward()
    for name, parameter in model.named_parameters():
        expected = GOLDEN[f"grad.{THEIRS[name]}"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            parameter.grad.numpy(), expected, rtol=1e-4, atol=1e-5 * scale, err_msg=name
        )


def test_five_optimiser_steps(model, modalities):
    config = TrainingConfig(optimizer="adamw", learning_rate=1e-3, weight_decay=1e-3)
    optimiser = make_optimiser(model, config)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = model(BATCH, modalities)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, GOLDEN["losses_5_adamw_steps"], rtol=1e-6)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.detach().numpy(),
            GOLDEN[f"after5.{THEIRS[name]}"],
            rtol=1e-4,
            atol=2e-6,
            err_msg=name,
        )
