"""The tutorial does what it says: its blocks are run from top to bottom."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mora.config import load_config

PAGE = Path(__file__).parents[1] / "docs" / "your_data.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
RUNS = ("visits", "flows", "people")


def follow(folder):
    """Write the files and give the commands of the page, in its order."""
    # One thread each, so that tests may share a machine.
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    said = []
    for language, text in BLOCKS:
        if language == "yaml":
            name = text.split("\n", 1)[0].removeprefix("# ")
            (folder / name).write_text(text, encoding="utf-8")
            continue
        commands = [["-c", text]] if language == "python" else []
        if not language:
            lines = [shlex.split(line) for line in text.splitlines()]
            assert all(words[0] == "mora" for words in lines)
            commands = [["-m", *words] for words in lines]
        for words in commands:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=folder,
                env=os.environ | threads,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
    return said


def test_the_page_has_every_way_in(tmp_path):
    """Its configurations are read, and each is run and validated."""
    commands = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]
    for name in RUNS:
        assert f"mora run {name}.yaml" in commands
        assert f"mora validate runs/{name}" in commands
    files = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
    configs = [settings for settings in files if "mobility" in settings]
    assert [config["name"] for config in configs] == list(RUNS)
    for config in configs:
        path = tmp_path / f"{config['name']}.yaml"
        path.write_text(yaml.safe_dump(config))
        assert load_config(path).mobility.kind == config["mobility"]["kind"]


def test_the_page_links_to_pages_that_exist():
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (PAGE.parent / link).is_file()


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    said = follow(tmp_path)
    for name in RUNS:
        run = tmp_path / "runs" / name
        assert "rent" in (run / "report.md").read_text()
        assert (run / "map.html").stat().st_size > 10_000
        vectors = pd.read_parquet(run / "embeddings.parquet")
        assert len(vectors) == 217
    assert "217 places, 128 numbers each" in said[2]
    encoded = pd.read_parquet(tmp_path / "vectors.parquet")
    assert len(encoded) == 217
