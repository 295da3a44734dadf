import gzip
import json
import sys

import pandas as pd
import pytest
from benchmarks.measure import shared_data

from mora.errors import (
    ConfigError,
    MissingExtraError,
    MissingFileError,
    TableError,
)
from mora.sources import geojson, osm
from mora.sources.osm import place_category, read_osm_places
from mora.sources.registry import read_source
from mora.tables import check_places

# A cafe, two shops and two nodes that are no places; a school (a square of 0.02 degrees
# around 1.01, 2.01), a hospital of two such squares, a line, a way whose nodes are not
# in the file, and a relation that is no multipolygon.
EXTRACT = """<?xml version='1.0' encoding='UTF-8'?>
<osm version="0.6" generator="test">
  <node id="1" version="1" lat="2.0" lon="1.0">
    <tag k="amenity" v="cafe"/><tag k="name" v="Café Zoé"/></node>
  <node id="2" version="1" lat="2.5" lon="1.5"><tag k="shop" v="yes"/></node>
  <node id="3" version="1" lat="2.6" lon="1.6"><tag k="shop" v="books;music"/></node>
  <node id="4" version="1" lat="2.6" lon="1.6"><tag k="amenity" v="no"/></node>
  <node id="5" version="1" lat="2.6" lon="1.6"><tag k="highway" v="stop"/></node>
  <node id="11" version="1" lat="2.00" lon="1.00"/>
  <node id="12" version="1" lat="2.00" lon="1.02"/>
  <node id="13" version="1" lat="2.02" lon="1.02"/>
  <node id="14" version="1" lat="2.02" lon="1.00"/>
  <node id="21" version="1" lat="3.00" lon="1.00"/>
  <node id="22" version="1" lat="3.00" lon="1.02"/>
  <node id="23" version="1" lat="3.02" lon="1.02"/>
  <node id="24" version="1" lat="3.02" lon="1.00"/>
  <way id="100" version="1">
    <nd ref="11"/><nd ref="12"/><nd ref="13"/><nd ref="14"/><nd ref="11"/>
    <tag k="amenity" v="school"/><tag k="name" v="School"/></way>
  <way id="101" version="1">
    <nd ref="11"/><nd ref="12"/><nd ref="13"/><nd ref="14"/><nd ref="11"/></way>
  <way id="102" version="1">
    <nd ref="21"/><nd ref="22"/><nd ref="23"/><nd ref="24"/><nd ref="21"/></way>
  <way id="103" version="1"><nd ref="11"/><nd ref="12"/>
    <tag k="tourism" v="attraction"/></way>
  <way id="104" version="1"><nd ref="998"/><nd ref="999"/>
    <tag k="tourism" v="zoo"/></way>
  <relation id="200" version="1">
    <member type="way" ref="101" role="outer"/>
    <member type="way" ref="102" role="outer"/>
    <tag k="type" v="multipolygon"/><tag k="amenity" v="hospital"/></relation>
  <relation id="201" version="1"><member type="node" ref="1" role=""/>
    <tag k="type" v="site"/><tag k="tourism" v="museum"/></relation>
</osm>
"""


def feature(tags, coordinates=(1.0, 2.0), kind="Point"):
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": tags, "geometry": geometry}


FEATURES = [
    feature({"@id": "node/1", "amenity": "cafe", "name": "Café Zoé"}),
    feature({"shop": "yes"}, [[[0, 0], [2, 0], [2, 4], [0, 4], [0, 0]]], "Polygon"),
    feature({"type": "way", "tags": {"office": "lawyer", "name": "L"}}, (3, 4)),
    feature({"highway": "stop", "name": "no place"}),
    {"type": "Feature", "properties": {"shop": "books"}, "geometry": None},
    feature({"tourism": "zoo"}, [[[0, 0], [1, 1]]], "Polygon"),  # no ring
]


@pytest.fixture
def extract(tmp_path):
    path = tmp_path / "extract.osm"
    path.write_text(EXTRACT, encoding="utf-8")
    return path


@pytest.fixture
def pbf(extract, tmp_path):
    osmium = pytest.importorskip("osmium", reason="needs the extra `osm`")
    path = tmp_path / "extract.osm.pbf"
    with osmium.SimpleWriter(str(path)) as writer:
        for thing in osmium.FileProcessor(str(extract)):
            writer.add(thing)
    return path


def write_geojson(path, features=None, **members):
    features = FEATURES if features is None else features
    whole = {"type": "FeatureCollection", **members, "features": features}
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    return path


def rows(frame):
    """List places, coordinates to 6 decimals and a missing name as None."""
    named = frame["name"].astype(object).where(frame["name"].notna(), None)
    numbers = frame[["lon", "lat"]].round(6).itertuples(index=False)
    return [
        (name, category, *lonlat)
        for name, category, lonlat in zip(
            named, frame["category"], numbers, strict=True
        )
    ]


PLACES = [
    ("Café Zoé", "cafe", 1.0, 2.0),
    (None, "shop", 1.5, 2.5),
    (None, "books", 1.6, 2.6),
    ("School", "school", 1.01, 2.01),
    (None, "attraction", 1.01, 2.0),
    (None, "hospital", 1.01, 2.51),
]


def test_an_extract_gives_nodes_ways_and_multipolygons(pbf):
    places = read_source("osm_places", pbf)
    assert sorted(rows(places), key=str) == sorted(PLACES, key=str)
    assert places.attrs["dropped"] == {
        "no coordinates": 1,
        "relation that is no whole multipolygon": 1,
    }
    kept, report = check_places(places)
    assert len(kept) == len(places) == report.rows_read


def test_xml_gives_the_same_and_so_does_the_disk(pbf, extract, monkeypatch):
    expected = read_source("osm_places", pbf)
    assert read_source("osm_places", extract).equals(expected)
    monkeypatch.setattr(osm, "IN_MEMORY_BYTES", 0)
    assert read_source("osm_places", pbf).equals(expected)


def test_a_batch_more_or_less_changes_nothing(pbf, monkeypatch):
    expected = read_source("osm_places", pbf)
    for size in (1, 2, 7):  # 7 records: the last batch is empty
        monkeypatch.setattr(osm, "ROWS", size)
        places = read_source("osm_places", pbf)
        assert places.equals(expected)
        assert places.attrs == expected.attrs


def test_keys_and_bounds_choose(pbf):
    shops = read_source("osm_places", pbf, keys=["shop"])
    assert [row[1] for row in rows(shops)] == ["shop", "books"]
    south = read_source("osm_places", pbf, bounds=(0, 1.9, 9, 2.1))
    assert {row[1] for row in rows(south)} == {"cafe", "school", "attraction"}
    assert south.attrs["dropped"]["outside the bounds"] == 3


def test_the_first_key_gives_the_category():
    tags = {"shop": "books; maps", "amenity": "no", "tourism": "yes"}
    assert place_category(tags, ["amenity", "shop", "tourism"]) == "books"
    assert place_category(tags, ["tourism", "shop"]) == "tourism"
    assert place_category(tags, ["amenity", "office"]) is None
    assert place_category({}, ["amenity"]) is None


def test_geojson_collection(tmp_path):
    places = read_source("osm_places", write_geojson(tmp_path / "a.geojson"))
    assert rows(places) == [
        ("Café Zoé", "cafe", 1.0, 2.0),
        (None, "shop", 1.0, 2.0),
        ("L", "lawyer", 3.0, 4.0),
    ]
    assert places.attrs["dropped"] == {"no coordinates": 2}


@pytest.mark.parametrize("chunk", [30, 64, 1000])
def test_geojson_is_read_piece_by_piece(tmp_path, monkeypatch, chunk):
    expected = read_source("osm_places", write_geojson(tmp_path / "a.geojson"))
    lines = [json.dumps(f) for f in FEATURES]
    (tmp_path / "b.geojsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "c.geojsonseq").write_text("".join(f"\x1e{x}\n" for x in lines))
    spaced = json.dumps({"type": "FeatureCollection", "features": FEATURES}, indent=1)
    with gzip.open(tmp_path / "d.json.gz", "wt", encoding="utf-8") as file:
        file.write("\ufeff" + spaced)
    (tmp_path / "e.json").write_text(json.dumps({"features": FEATURES}))
    with_crs = write_geojson(tmp_path / "f.json", crs={"name": "x" * 20})
    monkeypatch.setattr(geojson, "CHUNK", chunk)
    for name in ("b.geojsonl", "c.geojsonseq", "e.json"):
        assert read_source("osm_places", tmp_path / name).equals(expected), name
    if chunk == 1000:  # the list of features begins within the first piece
        for path in (tmp_path / "d.json.gz", with_crs):
            assert read_source("osm_places", path).equals(expected), path


def test_broken_files_are_refused(tmp_path, pbf, monkeypatch):
    def refused(name, text, message):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(TableError, match=message):
            list(read_osm_places(path))

    whole = write_geojson(tmp_path / "a.geojson").read_text()
    refused("cut.geojson", whole[:250], "as GeoJSON after 1 features")
    refused("b.geojson", '{"type": "FeatureCollection"}', "no list of features")
    refused("b.geojson", '[{"type": "Point"}]', "after 0 features")
    refused("b.geojson", '{"type": "Point"}', "is no feature")
    refused("b.geojson", b"\xff\xfe\xff", "as GeoJSON after 0 features")
    refused("b.geojson.gz", b"plain", "as GeoJSON after 0 features")
    refused("b.geojsonl", "", "none of 0 records can be used")
    refused("b.txt", "", r"unknown ending '.txt'; expected one of \.pbf")
    refused("b.osm.pbf", pbf.read_bytes()[:200], "as an OpenStreetMap extract")
    refused("b.osm.pbf", b"no pbf at all", "as an OpenStreetMap extract")
    monkeypatch.setattr(geojson, "LONGEST", 50)
    monkeypatch.setattr(geojson, "CHUNK", 20)
    refused("long.geojsonl", json.dumps(FEATURES[1]), "after 0 features")


def test_wrong_questions_are_refused(tmp_path, pbf, monkeypatch):
    with pytest.raises(MissingFileError, match="OpenStreetMap places: no file at"):
        read_osm_places(tmp_path / "none.osm.pbf")
    for keys in ([], "amenity"):
        with pytest.raises(ConfigError, match=r"keys .*; expected a list such as"):
            read_osm_places(pbf, keys=keys)
    with pytest.raises(ConfigError, match="expected west, south, east, north"):
        read_osm_places(pbf, bounds=(0, 2, 1, 1))
    with pytest.raises(TableError, match=r"none of 8 records .*6 outside the bounds"):
        list(read_osm_places(pbf, bounds=(50, 50, 51, 51)))
    monkeypatch.setitem(sys.modules, "osmium", None)
    with pytest.raises(MissingExtraError, match=r'osmium.*"mora\[osm\]"'):
        list(read_osm_places(pbf))


def test_frames_have_the_columns_of_places(pbf):
    (frame,) = read_osm_places(pbf)
    assert list(frame.columns) == ["name", "category", "lon", "lat"]
    assert pd.api.types.is_float_dtype(frame["lat"])


@pytest.mark.parametrize(
    ("name", "places", "named"), [("monaco", 1460, 710), ("Helsinki", 2014, 1460)]
)
def test_real_extracts(name, places, named):
    folder = shared_data("osm_pois")
    if folder is None:
        pytest.skip("the real extracts are not here (set MORA_SHARED)")
    pytest.importorskip("osmium", reason="needs the extra `osm`")
    frame = read_source("osm_places", folder / f"{name}.osm.pbf")
    assert (len(frame), frame["name"].notna().sum()) == (places, named)
    assert len(check_places(frame)[0]) == places
