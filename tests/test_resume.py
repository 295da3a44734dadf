"""A run that is killed and started again ends like one that never was."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from safetensors import safe_open
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
    write_city,
)

from mora.pipeline import run

COMMAND = [sys.executable, "-c", "from mora.cli import main; main()", "run"]
# One thread each: two runs go on at a time, and sums must not depend on the number.
ALONE = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "NUMBA", "OPENBLAS")}
PATIENCE = 120.0  # seconds until a run that does not get on is given up

# A file whose appearance says how far a run is; it is killed at that moment.
MOMENTS = (
    "features/poi.json",
    "train/checkpoint.safetensors",
    "evaluate/scores.jsonl",
)
MORE_MOMENTS = (
    "graph/started.json",
    "graph/manifest.json",
    "line/manifest.json",
    "train/manifest.json",
    "graph/records",
    "graph/counted",
    "graph/edges",
    "line/started.json",
    "line/vectors.npy",
    "features/started.json",
    "features/manifest.json",
    "train/started.json",
    "train/model.safetensors",
    "embed/started.json",
    "embed/vectors.npy",
    "embeddings.parquet",
    "evaluate/started.json",
    "report.json",
    "map/started.json",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run that trains and evaluates long enough to be met at it."""
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    given = settings(folder)
    given["training"] |= {"epochs": 150, "patience": 150, "checkpoint_seconds": 0.2}
    given["evaluation"]["baselines"] = ["lonlat", "line", "raw"]
    given["evaluation"]["splits"] = 3
    (folder / "city.yaml").write_text(yaml.safe_dump(given))
    return folder / "city.yaml"


def start(config, folder):
    return subprocess.Popen(
        [*COMMAND, str(config), "--folder", str(folder), "--quiet"],
        env=os.environ | ALONE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err.decode()


def kill_at(moment, config, folder):
    """Start a run and kill it as soon as a file appears."""
    assert not (folder / moment).exists(), f"{moment} is there already"
    process = start(config, folder)
    deadline = time.monotonic() + PATIENCE
    while not (folder / moment).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            _, err = process.communicate()
            raise AssertionError(f"no {moment} (status {process.returncode}): {err}")
        time.sleep(0.001)
    process.kill()  # SIGKILL
    process.communicate()


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    """A run that is left alone, while the first test kills others."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(config, folder)

    def wait():
        finish(process)
        return folder

    yield wait
    process.kill()


def assert_same_result(folder, expected):
    for product in ("embeddings.parquet", "train/losses.csv", "map.html"):
        assert (folder / product).read_bytes() == (expected / product).read_bytes()
    reports = [json.loads((f / "report.json").read_text()) for f in (folder, expected)]
    assert reports[0]["tasks"] == reports[1]["tasks"]
    assert not list(folder.rglob("*.part"))
    assert not (folder / "graph" / "records").exists()


def test_killed_in_three_stages_one_after_the_other(config, tmp_path, uninterrupted):
    for moment in MOMENTS:
        kill_at(moment, config, tmp_path)
        if moment == "train/checkpoint.safetensors":
            with safe_open(tmp_path / moment, framework="pt") as file:
                epoch = json.loads(file.metadata()["state"])["epoch"]
            assert 0 < epoch < 150
    scores = (tmp_path / "evaluate" / "scores.jsonl").read_bytes()
    finish(start(config, tmp_path))
    assert_same_result(tmp_path, uninterrupted())
    # What was evaluated before the kill is not evaluated again.
    whole = (tmp_path / "evaluate" / "scores.jsonl").read_bytes()
    assert whole.startswith(scores[: scores.rfind(b"\n") + 1])


def test_python_gives_the_same_as_the_command(config, tmp_path, uninterrupted):
    expected = uninterrupted()
    visits = planted_city().visits
    embeddings = run(config, folder=tmp_path, until="embed", visits=visits)
    product = tmp_path / "embeddings.parquet"
    assert product.read_bytes() == (expected / "embeddings.parquet").read_bytes()
    assert embeddings.to_pandas().shape == (91, 16)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MORE_MOMENTS)
def test_killed_once(config, tmp_path, uninterrupted, moment):
    kill_at(moment, config, tmp_path)
    finish(start(config, tmp_path))
    assert_same_result(tmp_path, uninterrupted())
