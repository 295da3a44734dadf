"""What one process does, and each of two; imports little: each of two imports it.

Two communities are planted: graph, vectors to start from, and features that know them.
"""

import os
from unittest import mock

import numba
import numpy as np
import scipy.sparse as sp
import torch
from safetensors.torch import save_file

from mora.config import EncoderConfig, HeadConfig, TrainingConfig
from mora.encoder import contrastive
from mora.encoder.alignment import AlignmentTask, build_model
from mora.encoder.contrastive import info_nce
from mora.encoder.model import ModalityBatch
from mora.errors import RunError
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph
from mora.training import loop
from mora.training.launch import joined_processes
from mora.training.loop import fit
from mora.training.processes import process_count, process_rank

TOKENS = 60
HEADS = {"poi": HeadConfig(temperature=0.5), "people": HeadConfig(kind="mlp")}


def planted(seed=0, scale=1.0):
    """Two communities: a graph, vectors to start from and features that know them."""
    rng = np.random.default_rng(seed)
    community = np.arange(TOKENS) % 2
    rate = np.where(community[:, None] == community, 3.0, 0.3)
    flows = scale * np.triu(rng.poisson(rate), 1)
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    line = rng.normal(size=(TOKENS, 8)).astype(np.float32)
    signal = np.where(community == 1, 1.0, -1.0)[:, None]
    features = {
        "poi": signal + rng.normal(0, 0.5, (TOKENS, 6)),
        "people": signal + rng.normal(0, 0.5, (TOKENS, 3)),
    }
    everyone = np.ones(TOKENS, bool)
    given = {k: (v.astype(np.float32), everyone) for k, v in features.items()}
    return community, graph, line, given


def settings(**changes):
    return TrainingConfig(
        **{"epochs": 10, "learning_rate": 0.02, "accelerator": "cpu"} | changes
    )


TEMPERATURES = (0.2, 0.07, 0.01)
PARTS = {"even": (19, 18), "one row": (36, 1), "no rows": (0, 37)}


def losses():
    """Contrast 37 rows, each process its own; loss and gradients of the own rows."""
    found = {}
    for temperature in TEMPERATURES:
        for name, sizes in PARTS.items():
            rows = torch.randn(2, 37, 6, generator=torch.Generator().manual_seed(3))
            if process_count() > 1:
                rows = rows.split(sizes, dim=1)[process_rank()]
            a, b = rows.clone().requires_grad_().unbind()
            loss = info_nce(a, b, temperature=temperature)
            grad_a, grad_b = torch.autograd.grad(loss, (a, b))
            # As DistributedDataParallel does: the mean over the processes.
            place = f"{temperature} {name}"
            found[f"{place} loss"] = loss.detach()
            found[f"{place} a"] = grad_a / process_count()
            found[f"{place} b"] = grad_b / process_count()
    return found


EVERYONE = np.ones(TOKENS, bool)
BATCH = torch.arange(5, 45)
FEW = {"one token a process": BATCH[:2], "no token in the second": BATCH[:1]}
# Which tokens have the two modalities; of the batch the first process has 5 to 24.
MASKS = {
    "all": (EVERYONE, EVERYONE),
    "unequal": (np.arange(TOKENS) % 3 == 0, np.arange(TOKENS) < 30),
    "in one part": (EVERYONE, np.arange(TOKENS) < 15),
    "one a part": (EVERYONE, np.isin(np.arange(TOKENS), [7, 30])),
    "one in all": (EVERYONE, np.arange(TOKENS) == 7),
    "one modality is absent": (EVERYONE, ~EVERYONE),
    "both are absent": (~EVERYONE, ~EVERYONE),
    **dict.fromkeys(FEW, (EVERYONE, EVERYONE)),
}


def task_of(masks, config, heads=HEADS):
    """Put the planted communities before a new model."""
    _, graph, line, given = planted()
    widths = {name: values.shape[1] for name, (values, _) in given.items()}
    model = build_model(line, normalise(graph), widths, heads, EncoderConfig(), 0)
    features = {
        name: ModalityBatch(torch.from_numpy(values), torch.from_numpy(mask))
        for (name, (values, _)), mask in zip(given.items(), masks, strict=True)
    }
    return AlignmentTask(model, features, config, 0)


def steps():
    """Take one gradient of every mask, through Lightning."""
    config = settings(devices=process_count())
    cold = {name: HeadConfig(temperature=0.01) for name in HEADS}
    found = {}
    for name, masks in MASKS.items():
        for kind, heads in (("warm", HEADS), ("cold", cold)):
            task = task_of(masks, config, heads)
            fabric = loop._make_fabric(config)
            optimiser = loop.make_optimiser(task.model, config)
            model, _ = fabric.setup(task.model, optimiser)
            loss = task.loss(model, FEW.get(name, BATCH))
            fabric.backward(loss)
            found[f"{name} {kind} loss"] = loss.detach()
            for parameter, value in task.model.named_parameters():
                if value.grad is not None:
                    found[f"{name} {kind} {parameter}"] = value.grad
    return found


class Killed(Exception):
    """The processes end here."""


TRAINING = {"batch_size": 20, "checkpoint_seconds": 0, "validation_share": 0.2}
STOPS_EARLY = {"learning_rate": 0.5, "epochs": 40, "patience": 3}


def trained(folder, killed_in=None, **changes):
    """Train; give weights and losses, or nothing if killed."""
    config = settings(devices=process_count(), **TRAINING | changes)
    task = task_of(MASKS["unequal"], config)
    batches = task.batches

    def until(epoch):
        if epoch == killed_in:
            raise Killed
        return batches(epoch)

    task.batches, told = until, []
    with mock.patch.object(
        loop, "write_checkpoint", wraps=loop.write_checkpoint
    ) as save:
        try:
            state = fit(task, config, folder, progress=lambda *n: told.append(n))
        except Killed:
            return {}
    return {
        **task.model.state_dict(),
        "history": torch.tensor([[*r.values()] for r in state.history]),
        "best": torch.tensor(state.best_epoch),
        "told": torch.tensor(len(told)),
        "saved": torch.tensor(save.call_count),
    }


# ------------------------------------------------------------------- two of them


def work(rank, port, folder):
    """Do all of it as one of two processes; the second one outlives the first."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    contrastive.TILE = 16
    try:
        with joined_processes(2) as processes:
            found = {
                "losses": losses(),
                "steps": steps(),
                "whole": trained(folder / "whole"),
                "early": trained(folder / "early", **STOPS_EARLY),
                "was one": trained(folder / "was one"),
                "is one": trained(folder / "is one", killed_in=3),
                "half": trained(folder / "half", precision="bf16-mixed", epochs=2),
                "words": {"agreed": torch.tensor(processes.agree(rank == 0))},
            }
            for name, tensors in found.items():
                (folder / f"{rank}").mkdir(exist_ok=True)
                save_file(tensors, folder / f"{rank}" / f"{name}.safetensors")
            if rank == 0:
                os._exit(9)
            processes.agree()
    except RunError as error:
        (folder / "told").write_text(str(error))
