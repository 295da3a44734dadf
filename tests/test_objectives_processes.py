"""Two processes that share a batch have the loss and gradients of one."""

import os
import socket
from multiprocessing import get_context

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below
from tests.two_processes import HEADS, TOKENS, planted

from mora.config import EncoderConfig
from mora.config.objectives import ObjectivesConfig
from mora.encoder.alignment import build_model
from mora.encoder.model import ModalityBatch
from mora.graph.sampling import normalise
from mora.training.launch import joined_processes
from mora.training.processes import own_part, process_count

EVERY = ObjectivesConfig(
    contrastive={"temperature": "learned", "false_negatives": 0.8},
    **{
        name: {"weight": 0.5}
        for name in ("masked", "vicreg", "barlow", "flow", "neighbours")
    },
)


def one_step():
    """Give the loss and all gradients, averaged over the processes."""
    _, graph, line, features = planted()
    present = {"poi": torch.arange(TOKENS) % 3 > 0, "people": torch.arange(TOKENS) < 40}
    batches = {
        name: ModalityBatch(torch.from_numpy(values), present[name])
        for name, (values, _) in features.items()
    }
    widths = {name: values.shape[1] for name, (values, _) in features.items()}
    model = build_model(
        line, normalise(graph), widths, HEADS, EncoderConfig(), 0,
        objectives=EVERY, modalities=batches, graph=graph,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "decoders" in name or "mass" in name:
                parameter.fill_(0.1)
    torch.manual_seed(5)  # the second process would draw others: it takes the first's
    shuffled = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(1))[:45]
    loss = model(own_part(shuffled), batches)
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    if process_count() > 1:
        for gradient in found.values():
            torch.distributed.all_reduce(gradient)
            gradient /= process_count()
    return found | {"loss": loss.detach()}


def work(rank, port, folder):
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with joined_processes(2):
        save_file(one_step(), folder / f"{rank}.safetensors")


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        get_context("spawn").Process(target=work, args=(rank, port, tmp_path))
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    expected = one_step()
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name],
                value,
                rtol=1e-4,
                atol=1e-5,
                msg=lambda m, n=name: f"{n}: {m}",
            )
