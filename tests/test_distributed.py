"""Two processes on one machine give what one gives."""

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    write_city,
)
from tests.small_run import settings as city_settings
from tests.two_processes import (
    MASKS,
    STOPS_EARLY,
    losses,
    settings,
    steps,
    task_of,
    trained,
    work,
)

from mora.embeddings import read_embeddings
from mora.encoder import contrastive
from mora.errors import ConfigError
from mora.training.launch import joined_processes, require_processes
from mora.training.loop import fit
from mora.training.processes import gather_rows, own_part, process_count

PATIENCE = 120  # seconds until processes that do not end are given up


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Give the folder with what two processes made."""
    folder = tmp_path_factory.mktemp("both")
    trained(folder / "was one", killed_in=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=work, args=(rank, port, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
    assert [process.exitcode for process in processes] == [9, 0]
    return folder


def parts(folder, name):
    """Read what each of the two made."""
    return [load_file(folder / str(rank) / f"{name}.safetensors") for rank in (0, 1)]


def assert_close(found, expected, tolerance=2e-6):
    """Compare by the largest of each tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().item() if value.numel() else 0
        torch.testing.assert_close(
            found[name],
            value,
            rtol=0,
            atol=tolerance * scale,
            msg=lambda m, n=name: n + m,
        )


def test_the_loss_is_that_of_all_rows(both, monkeypatch):
    monkeypatch.setattr(contrastive, "TILE", 16)
    first, second = parts(both, "losses")
    joined = {
        name: value if name.endswith("loss") else torch.cat([value, second[name]])
        for name, value in first.items()
    }
    assert_close(joined, losses())
    for name in (name for name in first if name.endswith("loss")):
        assert torch.equal(first[name], second[name])


def test_the_step_is_that_of_one_process(both):
    first, second = parts(both, "steps")
    assert_close(first, steps(), tolerance=1e-5)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_head_without_tokens_has_no_gradient(both):
    first, _ = parts(both, "steps")
    for name in ("one modality is absent", "one in all"):
        assert f"{name} warm aligned.heads.poi.weight" in first
        assert f"{name} warm aligned.heads.people.0.weight" not in first
    assert "in one part warm aligned.heads.people.0.weight" in first
    assert first["both are absent warm loss"] == 0


RECORDS = ("told", "saved")


@pytest.mark.parametrize(
    ("name", "changes"), [("whole", {}), ("early", STOPS_EARLY)], ids=["all", "early"]
)
def test_training_ends_alike(both, tmp_path, name, changes):
    expected = trained(tmp_path, **changes)
    first, second = parts(both, name)
    assert len(expected["history"]) < 40
    assert_close(first, expected, tolerance=1e-4)
    for key in first.keys() - {*RECORDS}:
        assert torch.equal(first[key], second[key]), key


def test_the_first_process_alone_writes_and_tells(both):
    first, second = parts(both, "whole")
    assert len(first["history"]) == 10
    assert first["told"] == 30  # three batches an epoch
    assert first["saved"] == 31
    assert second["told"] == second["saved"] == 0


def test_training_goes_on_with_another_number_of_processes(both, tmp_path):
    expected = trained(tmp_path)
    of_two, _ = parts(both, "was one")
    of_one = trained(both / "is one")
    assert of_one["told"] == of_two["told"] == 21
    for found in (of_one, of_two):
        kept = {k: v for k, v in found.items() if k not in RECORDS}
        assert_close(kept, {k: expected[k] for k in kept}, tolerance=1e-4)


def test_mixed_precision_goes_through_lightning(both, tmp_path):
    expected = trained(tmp_path, precision="bf16-mixed", epochs=2)
    assert_close(parts(both, "half")[0], expected, tolerance=0.05)


def test_all_agree_with_the_first(both):
    assert all(part["agreed"] for part in parts(both, "words"))


def test_the_death_of_one_is_told_to_the_others(both):
    told = (both / "told").read_text()
    assert re.search(r"process 2 of 2 stopped: .*(?i:clos|reset).*same command", told)


# ------------------------------------------------------------------ one of them


def test_one_process_needs_nobody():
    rows = torch.ones(3, 2)
    assert gather_rows(rows)[0] is rows
    assert own_part(torch.arange(3)).tolist() == [0, 1, 2]
    with joined_processes(1) as processes:
        assert processes.agree(True)
        assert not processes.agree(False)
    assert process_count() == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("devices", "started", "message"),
    [
        (
            2,
            {},
            r"devices is 2, and 1 process was started; .*devices: 1, or start with",
        ),
        (1, {"WORLD_SIZE": "2"}, r"devices is 1, and 2 processes were started"),
        (4, {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, r"--nproc-per-node 4 -m mora run"),
        (2, {"WORLD_SIZE": "2"}, r"devices is 2, and 2 processes were started"),
    ],
)
def test_other_processes_than_asked_for_are_refused(
    tmp_path, monkeypatch, devices, started, message
):
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        require_processes(devices)
    config = settings(devices=devices)
    with pytest.raises(ConfigError, match=message):
        fit(task_of(MASKS["all"], config), config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_as_many_processes_as_asked_for_are_right(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    require_processes(3)


# -------------------------------------------------------------------- whole runs

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ALONE = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def call(command, config, folder):
    return subprocess.run(
        [*command, "-m", "mora", "run", str(config), "--folder", str(folder)],
        env=os.environ | ALONE,
        timeout=2 * PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )


def written(folder, devices):
    """Write the city and a configuration for as many processes."""
    write_city(folder)
    given = city_settings(folder)
    given["training"] |= {"batch_size": 40, "devices": devices}
    path = folder / f"{devices}.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@pytest.mark.slow
def test_a_run_of_two_processes_ends_like_one(tmp_path):
    one, two = (written(tmp_path / "city", devices) for devices in (1, 2))
    single = call([sys.executable], one, tmp_path / "one")
    assert single.returncode == 0, single.stderr
    double = call(TORCHRUN, two, tmp_path / "two")
    assert double.returncode == 0, double.stderr
    assert double.stdout.count("Aligning the modalities with mobility") == 1
    vectors = [
        read_embeddings(tmp_path / n / "embeddings.parquet").vectors
        for n in ("one", "two")
    ]
    np.testing.assert_allclose(*vectors, rtol=0, atol=1e-4 * np.abs(vectors[0]).max())
    facts = [
        json.loads((tmp_path / n / "train/manifest.json").read_text())["facts"]
        for n in ("one", "two")
    ]
    assert facts[0]["epochs"] == facts[1]["epochs"]
    assert not list((tmp_path / "two").rglob("*.part"))
    # A finished run is finished for any number of processes.
    for command, config in ((TORCHRUN, two), ([sys.executable], one)):
        again = call(command, config, tmp_path / "two")
        assert again.returncode == 0, again.stderr
        assert again.stdout.count("unchanged") == 7


@pytest.mark.slow
def test_a_failure_of_the_first_process_ends_the_others(tmp_path):
    config = written(tmp_path / "city", 2)
    visits = tmp_path / "city" / "visits.csv"
    visits.write_text(visits.read_text().replace("person-", "").replace("+00:00", ""))
    failed = call(TORCHRUN, config, tmp_path / "run")
    assert failed.returncode == 1
    assert "time has no zone" in failed.stderr
    assert not (tmp_path / "run" / "train").exists()


@pytest.mark.slow
def test_as_many_processes_are_needed_as_are_set(tmp_path):
    config = written(tmp_path / "city", 3)
    for command in ([sys.executable], TORCHRUN):
        refused = call(command, config, tmp_path / "run")
        assert refused.returncode == 1
        assert "torchrun --nproc-per-node 3 -m mora run" in refused.stderr
    assert not (tmp_path / "run").exists()
