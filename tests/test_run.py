"""What a run does when a stage fails, finds old files, or is not alone."""

import json
import math
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.small_run import (
    Recorder,
    contents,
    one_thread,  # noqa: F401 - a fixture for every test below
    settings,
    stages_done,
    write_city,
)

from mora.config import load_config
from mora.errors import ConfigError, MoraError, RunError
from mora.memory import MemoryLimitError
from mora.pipeline import STAGES, run
from mora.pipeline.folder import LAYOUT, MANIFEST
from mora.training.launch import Processes

NAMES = [stage.name for stage in STAGES]
module = sys.modules[run.__module__]  # `mora.pipeline.run` is the function
FULL = OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the city's files in ``city`` and a whole run in ``run``."""
    folder = tmp_path_factory.mktemp("finished")
    write_city(folder / "city")
    run(settings(folder / "city"), folder=folder / "run")
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """The same, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def manifest(folder, stage):
    return json.loads((folder / "run" / stage / MANIFEST).read_text())


def rewrite(folder, stage, change):
    """Change what a manifest says."""
    content = change(manifest(folder, stage))
    (folder / "run" / stage / MANIFEST).write_text(json.dumps(content))


def failing(stage, error):
    """Give the stages, of which one writes half of its files and then fails."""

    def work(context, folder):
        stage_of[stage].work(context, folder)
        files = [path for path in sorted(folder.rglob("*.*")) if path.is_file()]
        half = files[0].read_bytes()
        files[0].write_bytes(half[: len(half) // 2])
        raise error

    stage_of = {s.name: s for s in STAGES}
    return tuple(replace(s, work=work) if s.name == stage else s for s in STAGES)


# ----------------------------------------------------------------- failures


@pytest.mark.parametrize("error", [FULL, MemoryError()], ids=["disk", "memory"])
@pytest.mark.parametrize("stage", ["graph", "features", "train", "evaluate"])
def test_a_failing_stage_leaves_the_others_as_they_were(
    copy, monkeypatch, stage, error
):
    whole = contents(copy / "run")
    (copy / "run" / stage / MANIFEST).unlink()
    config = settings(copy / "city")
    with monkeypatch.context() as patch:
        patch.setattr(module, "STAGES", failing(stage, error))
        with pytest.raises(RunError) as told:
            run(config, folder=copy / "run")
    reason = "No space left on device" if error is FULL else "out of memory"
    assert f"stage '{stage}' stopped: " in str(told.value)
    assert reason in str(told.value)
    # Of a run that was whole before, the later stages are intact too.
    others = ", ".join(name for name in NAMES if name != stage)
    assert f"earlier stages wrote is intact ({others})" in str(told.value)
    assert "start again" in str(told.value)
    left = contents(copy / "run")
    own = {*whole} & {"report.json", "report.md"} if stage == "evaluate" else set()
    for name, content in whole.items():
        if not name.startswith(f"{stage}/") and name not in own:
            assert left[name] == content, name
    assert stages_done(config, copy / "run") == [stage]
    again = contents(copy / "run")
    results = {name for name in whole if not name.endswith(".json")}
    assert {name: again[name] for name in results} == {n: whole[n] for n in results}


def test_a_write_that_fails_in_the_middle(finished, tmp_path, monkeypatch):
    save, written = np.save, []

    def half(file, array, **options):
        written.append(file)
        if len(written) == 3:
            path = file if isinstance(file, Path) else Path(file.name)
            path.write_bytes(b"\x93NUMPY")
            raise FULL
        save(file, array, **options)

    config = settings(finished / "city")
    run(config, folder=tmp_path, until="line")
    before = contents(tmp_path)
    monkeypatch.setattr(np, "save", half)
    match = r"stage 'features' stopped: .*No space left.* is intact \(graph, line\)"
    with pytest.raises(RunError, match=match):
        run(config, folder=tmp_path)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    monkeypatch.undo()
    assert run(config, folder=tmp_path).vectors.shape == (91, 16)


def test_the_first_stage_has_nothing_to_keep(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STAGES", failing("graph", FULL))
    with pytest.raises(RunError, match=r"is intact \(none is done\); free space"):
        run(settings(finished / "city"), folder=tmp_path)


@pytest.mark.parametrize(
    "error",
    [MemoryLimitError("needs 9 GB"), MoraError("bad row"), FileNotFoundError("nix")],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_say_enough_are_passed_on(copy, monkeypatch, error):
    (copy / "run" / "line" / MANIFEST).unlink()
    monkeypatch.setattr(module, "STAGES", failing("line", error))
    with pytest.raises(type(error)) as told:
        run(settings(copy / "city"), folder=copy / "run")
    assert told.value is error


# ------------------------------------------------------- folders of another Mora


@pytest.mark.parametrize(
    ("layout", "shown"), [({"layout": 1}, "1"), ({}, "1 or 2")], ids=["told", "silent"]
)
def test_a_stage_of_another_layout_is_done_again_and_that_is_told(copy, layout, shown):
    def older(content):
        del content["layout"]
        return content | layout | {"fingerprint": "of another time"}

    before = contents(copy / "run")
    rewrite(copy, "line", older)
    rewrite(copy, "map", older)
    display = Recorder()
    run(settings(copy / "city"), folder=copy / "run", display=display)
    assert display.done() == ["line", "map"]
    for stage in ("line", "map"):
        line = (
            f"{stage}: made by another version of Mora (layout {shown}, now {LAYOUT}); "
            f"done again"
        )
        assert display.lines.count(line) == 1
    assert len([line for line in display.lines if "another version" in line]) == 2
    vectors = "line/vectors.npy"
    assert (copy / "run" / vectors).read_bytes() == before[vectors]


def test_other_settings_are_no_other_layout(copy):
    display = Recorder()
    config = settings(copy / "city", map={"similar": 4})
    run(config, folder=copy / "run", display=display)
    assert display.done() == ["map"]
    assert not any("another version" in line for line in display.lines)


def test_a_torn_manifest_is_no_other_layout(copy):
    (copy / "run" / "map" / MANIFEST).write_text("[]")
    display = Recorder()
    run(settings(copy / "city"), folder=copy / "run", display=display)
    assert display.done() == ["map"]
    assert not any("another version" in line for line in display.lines)


# -------------------------------------------------------------------- manifests


def test_manifests_say_what_the_work_took(finished):
    for stage in NAMES:
        said = manifest(finished, stage)
        assert said["layout"] == LAYOUT
        assert 0 < said["seconds"] < 600
        assert 50 < said["peak_mb"] < 100_000


def test_the_peak_is_that_of_the_stage(copy, monkeypatch):
    taken = []

    def work(_context, folder):
        (folder / "file").write_text("done")
        if not taken:
            taken.append(np.ones(60_000_000).sum())  # 480 MB
        return {}

    stages = [replace(s, work=work) if s.name in NAMES[:2] else s for s in STAGES]
    monkeypatch.setattr(module, "STAGES", tuple(stages))
    run(settings(copy / "city", seed=5), folder=copy / "more", until="line")
    large, small = (
        json.loads((copy / "more" / name / MANIFEST).read_text())["peak_mb"]
        for name in NAMES[:2]
    )
    assert large - small > 400


def test_a_peak_that_nobody_tells_is_none(copy, monkeypatch):
    monkeypatch.setattr(module, "peak_mb", lambda: math.nan)
    run(settings(copy / "city"), folder=copy / "more", until="graph")
    text = (copy / "more" / "graph" / MANIFEST).read_text()
    assert json.loads(text)["peak_mb"] is None
    assert "NaN" not in text


# ---------------------------------------------------------------- how, not what


def company(monkeypatch, rank, first_says=True):
    """Be one of two processes; give what was told to the others."""
    told = []

    class Said(Processes):
        def agree(self, says=False):
            told.append(says)
            return says if rank == 0 else first_says

    @contextmanager
    def joined(devices):
        assert devices == 2
        yield Said(rank)

    monkeypatch.setattr(module, "joined_processes", joined)
    return told


def of_two(folder, **changes):
    config = settings(folder / "city", **changes)
    config["training"] |= {"devices": 2}
    return config


def test_settings_of_the_work_repeat_no_stage(copy, monkeypatch):
    config = settings(copy / "city")
    config["training"] |= {"checkpoint_seconds": 3.0}
    assert stages_done(config, copy / "run") == []
    told = company(monkeypatch, rank=0)
    assert stages_done(of_two(copy), copy / "run") == []
    assert told == [False]


def test_the_others_wait_for_a_stage_that_begins(copy, monkeypatch):
    begun = []
    told = company(monkeypatch, rank=0)
    work = {s.name: s.work for s in STAGES}

    def train(context, folder):
        begun.append(told.copy())
        # Not what the training would do: that needs the other process.
        config = context.config.model_copy(update={"training": alone})
        return work["train"](replace(context, config=config), folder)

    alone = load_config(settings(copy / "city")).training
    stages = [replace(s, work=train) if s.shared else s for s in STAGES]
    monkeypatch.setattr(module, "STAGES", tuple(stages))
    assert stages_done(of_two(copy, seed=3), copy / "run") == [
        *["line", "train", "embed", "evaluate", "map"]
    ]
    assert begun == [[True]]


@pytest.mark.parametrize("wanted", [True, False])
def test_another_process_does_what_is_shared(copy, monkeypatch, wanted):
    company(monkeypatch, rank=1, first_says=wanted)
    done = []

    def work(context, folder):
        done.append(folder.name)
        context.display.say("not to be heard")
        return {}

    stages = tuple(replace(stage, work=work) for stage in STAGES)
    monkeypatch.setattr(module, "STAGES", stages)
    before = contents(copy / "run")
    display = Recorder()
    config = of_two(copy, seed=3)
    assert run(config, folder=copy / "run", display=display) is None
    assert done == (["train"] if wanted else [])
    assert display.lines == []
    assert contents(copy / "run") == before
    assert run(config, folder=copy / "run", until="features") is None
    assert done == (["train"] if wanted else [])


def test_processes_that_were_not_started_are_refused(copy, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = contents(copy / "run")
    match = r"devices is 2, and 1 process was started.*torchrun --nproc-per-node 2 -m"
    with pytest.raises(ConfigError, match=match):
        run(of_two(copy, seed=3), folder=copy / "run")
    assert contents(copy / "run") == before


def test_the_package_is_a_command():
    told = subprocess.run(
        [sys.executable, "-m", "mora", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Do a whole run, or go on with one that was stopped." in told.stdout


@pytest.mark.parametrize(
    ("memory_gb", "stage", "message"),
    [
        (0.001, "graph", r"Collecting visits needs about 0\.02 GB; 0\.00 GB is allo"),
        (0.03, "line", r"LINE of \d+ tokens x 16 needs about 0\.08 GB; 0\.03 GB is"),
    ],
)
def test_too_little_memory_is_refused_with_what_is_needed(
    tmp_path, memory_gb, stage, message
):
    write_city(tmp_path / "city")
    config = settings(tmp_path / "city")
    with pytest.raises(MemoryLimitError, match=message):
        run({**config, "memory_gb": memory_gb}, folder=tmp_path / "run")
    assert not (tmp_path / "run" / stage / MANIFEST).exists()
    # With enough, the run goes on; the limit belongs to no stage's fingerprint.
    run({**config, "memory_gb": 2}, folder=tmp_path / "run", until="line")
    assert stages_done(config, tmp_path / "run", until="line") == []


def test_training_is_refused_before_line_begins(copy, monkeypatch):
    monkeypatch.setattr("mora.pipeline.learning.ENTRY_BYTES", 10**9)
    monkeypatch.setattr("mora.pipeline.learning.embed", None)  # LINE may not begin
    changed = settings(copy / "city", memory_gb=2, line={"dim": 7})
    message = r"Training on \d+ places and [\d,]+ sampled edges needs about [\d.]+ GB"
    with pytest.raises(MemoryLimitError, match=message):
        run(changed, folder=copy / "run")


def test_sketches_of_line_do_not_stay(copy):
    config = settings(copy / "city", line={"dim": 7})
    run(config, folder=copy / "run", until="line")
    left = (copy / "run" / "line").glob("*.npy")
    assert {file.name for file in left} == {"vectors.npy"}
