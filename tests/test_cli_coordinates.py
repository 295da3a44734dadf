"""The subcommands distill, encode, onnx, search, similar, explore."""

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
import yaml
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    settings,
    write_city,
)

from mora.distill import CoordinateEncoder
from mora.embeddings import read_embeddings
from mora.explore.word_ranking import MOVEMENT_WEIGHT
from mora.pipeline import run

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="needs the extra `onnx`",
)
SMALL = {"degree": 4, "width": 16, "depth": 2, "protocol": "random"}
TRAINING = {"epochs": 2, "batch_size": 64, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    run(settings(folder), folder=folder / "run", until="embed")
    return folder / "run"


@pytest.fixture(scope="module")
def encoder(finished):
    from mora.distill import DistillConfig, distill
    from mora.distill.config import DISTILL_TRAINING

    training = DISTILL_TRAINING.model_copy(update=TRAINING)
    distill(
        read_embeddings(finished / "embeddings.parquet"),
        DistillConfig(**SMALL),
        training,
        finished / "distilled",
    )
    return finished / "distilled"


def test_a_run_is_distilled_with_settings_from_a_file(mora, finished, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump({"distill": SMALL, "training": TRAINING}))
    given = ("distill", finished, "--to", tmp_path / "out", "--config", config)
    status, out, err = mora(*given)
    assert (status, err) == (0, "")
    assert "| cells | method | n | R2 | cosine | MSE |" in out
    assert CoordinateEncoder.load(tmp_path / "out").encode(np.zeros((1, 2))).any()
    status, out, _ = mora(*given, "--epochs", 1, "--json")
    assert status == 0
    assert json.loads(out)


def test_unknown_settings_are_refused(mora, finished, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("distill: {degre: 3}")
    status, _, err = mora("distill", finished, "--config", config)
    assert status == 1
    assert "did you mean 'degree'?" in err


def test_points_of_a_table_are_encoded(mora, encoder, tmp_path):
    frame = pd.DataFrame({"x": [0.1, 0.2], "y": [51.5, 51.6], "name": ["a", "b"]})
    frame.to_csv(tmp_path / "points.csv", index=False)
    status, out, _ = mora(
        "encode", tmp_path / "points.csv", "--model", encoder, "--lon", "x",
        "--lat", "y", "--keep", "name", "--to", tmp_path / "v.parquet",
    )  # fmt: skip
    assert status == 0
    assert "2 places" in out
    found = pq.read_table(tmp_path / "v.parquet").to_pandas()
    assert found["name"].tolist() == ["a", "b"]
    expected = CoordinateEncoder.load(encoder).encode(frame[["x", "y"]].to_numpy())
    columns = [c for c in found if c.startswith("e0")]
    np.testing.assert_allclose(found[columns].to_numpy(), expected, rtol=1e-6)


def test_places_that_are_not_on_earth(mora, encoder, tmp_path):
    pd.DataFrame({"lon": [0.1, 0.2], "lat": [51.5, 95.0]}).to_csv(
        tmp_path / "points.csv", index=False
    )
    given = ("encode", tmp_path / "points.csv", "--model", encoder)
    status, _, err = mora(*given)
    assert status == 1
    assert "1 of 2" in err
    status, out, _ = mora(*given, "--on-invalid", "nan")
    assert status == 0
    assert "1 not on Earth" in out


def test_errors_about_points_name_options(mora, encoder, tmp_path):
    table = tmp_path / "rents.csv"
    table.write_text("east,north,rent\n0.1,51.5,900\n,51.6,800\n")
    given = ("encode", table, "--model", encoder)
    status, _, err = mora(*given)
    assert status == 1
    assert "no column 'lon', 'lat'; the columns are 'east', 'north', 'rent'." in err
    assert "Name them with --lon, --lat and --keep." in err
    assert "columns:" not in err
    status, _, err = mora(*given, "--lon", "east", "--lat", "north")
    assert status == 1
    assert "1 of 2 places are missing" in err
    assert "`--on-invalid nan`) they get NaN." in err


def test_cells_of_a_polygon_are_encoded(mora, encoder, tmp_path):
    square = shapely.box(0, 51, 0.5, 51.5)
    feature = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": shapely.geometry.mapping(square),
            }
        ],
    }
    (tmp_path / "area.geojson").write_text(json.dumps(feature))
    status, out, err = mora(
        "encode", "--polygon", tmp_path / "area.geojson", "--model", encoder,
        "--resolution", 5, "--to", tmp_path / "cells.parquet",
    )  # fmt: skip
    assert (status, err) == (0, "")
    found = read_embeddings(tmp_path / "cells.parquet")
    assert f"{len(found)} cells of level 5" in out
    assert found.tokens.resolution == 5


def test_points_and_polygon_exclude_each_other(mora, encoder):
    status, _, err = mora("encode", "--model", encoder)
    assert status == 1
    assert "either a table of points or --polygon" in err


@needs_onnx
def test_an_encoder_becomes_onnx(mora, encoder, tmp_path):
    status, out, _ = mora("onnx", tmp_path / "m.onnx", "--model", encoder, "--int8")
    assert status == 0
    assert out.count("wrote") == 2
    for name in ("m.onnx", "m.int8.onnx"):
        assert (tmp_path / name).stat().st_size > 0


def test_places_that_are_used_alike(mora, finished):
    names = read_embeddings(finished / "embeddings.parquet").tokens.names()
    status, out, _ = mora("similar", finished, "--place", names[0], "-k", 3, "--json")
    rows = json.loads(out)
    assert status == 0
    assert len(rows) == 3
    assert names[0] not in [row["place"] for row in rows]
    _, unlike, _ = mora(
        "similar", finished, "--place", names[0], "--unlike", rows[0]["place"],
        "-k", 3, "--json",
    )  # fmt: skip
    assert json.loads(unlike) != rows
    _, none, _ = mora(
        "similar", finished, "--place", names[0], "--within", "100,-10,101,-9"
    )
    assert none == ""
    status, _, err = mora("similar", finished, "--place", names[0], "--within", "1,2")
    assert status == 1
    assert "expected west,south,east,north" in err


def test_search_in_words(mora, finished):
    status, out, err = mora("search", finished, "bakery", "-k", 2, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert len(found) == 2
    _, text, _ = mora("search", finished, "bakery", "-k", 2)
    for row, line in zip(found, text.splitlines(), strict=True):
        assert row["place"] in line
        assert f"({row['lon']:.3f}, {row['lat']:.3f})" in line


def test_search_in_words_can_weigh_how_busy_a_place_is(mora, finished):
    def scores(*options):
        out = mora("search", finished, "bakery", "-k", 5, "--json", *options)[1]
        return [row["score"] for row in json.loads(out)]

    assert scores() == scores("--movement", MOVEMENT_WEIGHT)
    assert scores() != scores("--movement", 0)
    status, _, err = mora("search", finished, "bakery", "--movement", -1)
    assert status == 2
    assert "greater than or equal to 0" in err


def test_a_run_says_what_it_was_told(finished):
    told = json.loads((finished / "config.json").read_text())
    assert told["tokens"]["kind"] == "h3"


def test_a_run_is_published(mora, finished, tmp_path):
    config = tmp_path / "publish.yaml"
    given = {"licence": "cc-by-4.0", "period": ["2024-01-01", "2024-02-01"]}
    config.write_text(yaml.safe_dump(given | {"min_users": 2, "attacks": False}))
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump({"distill": SMALL, "training": TRAINING}))
    command = ("publish", finished, "--to", tmp_path / "hub", "--config", config)
    command += ("--distilling", small)
    status, _, err = mora(*command)
    assert (status, err) == (0, "")
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert {"model.safetensors", "README.md", "stac.json", "SHA256SUMS"} <= names
    status, _, err = mora(*command)
    assert status == 1
    assert "force" in err


def test_the_service_stays_on_this_computer(mora, finished):
    status, _, err = mora("serve", finished, "--host", "192.168.1.1")
    assert status == 1
    assert "can be reached from other computers" in err
