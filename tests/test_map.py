import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
import shapely
from sklearn.decomposition import PCA

from mora.errors import MoraError, NoGeometryError
from mora.explore.colour import (
    component_colours,
    oklab_to_srgb,
    principal_components,
    sequential_ramp,
    vector_colours,
)
from mora.explore.map import colour_scale, quantise, unbroken, write_map
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


def squares(count: int = 12) -> ZoneTokens:
    """Unit squares in rows of four, the first with a hole."""
    corners = [(x % 4, 40 + x // 4) for x in range(count)]
    outlines = np.array([shapely.box(x, y, x + 1, y + 1) for x, y in corners])
    outlines[0] = outlines[0].difference(outlines[0].centroid.buffer(0.2, quad_segs=1))
    return ZoneTokens(np.array([f"zone {i}" for i in range(count)]), outlines)


def random_vectors(count: int = 12, dim: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(2, 1, (count, dim)).astype(np.float32)


def page(tmp_path, tokens=None, vectors=None, **options) -> str:
    tokens = squares() if tokens is None else tokens
    vectors = random_vectors(len(tokens)) if vectors is None else vectors
    path = tmp_path / "map.html"
    write_map(path, tokens, vectors, **{"title": "Places", **options})
    return path.read_text(encoding="utf-8")


def read_data(text: str) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text)
    return json.loads(found[1])


def array(data: dict, name: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data[name]), dtype)


class Elements(HTMLParser):
    """The tags of a page with their attributes, and the text that can be seen."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.seen = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.seen += data


# Colours


@pytest.mark.parametrize(
    ("lab", "rgb"),
    [
        ((0.0, 0.0, 0.0), (0, 0, 0)),
        ((1.0, 0.0, 0.0), (255, 255, 255)),
        ((0.627955, 0.224863, 0.125846), (255, 0, 0)),  # Ottosson's values
        ((0.452014, -0.032457, -0.311528), (0, 0, 255)),
    ],
)
def test_oklab_known_colours(lab, rgb):
    np.testing.assert_array_equal(oklab_to_srgb(np.array([lab])), [rgb])


def test_components_agree_with_sklearn():
    vectors = random_vectors(40, 7).astype(np.float64)
    scores, share = principal_components(vectors)
    oracle = PCA(3, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(np.abs(scores), np.abs(oracle.transform(vectors)))
    np.testing.assert_allclose(share, oracle.explained_variance_ratio_)


def test_component_count_is_kept_beyond_the_dimensions():
    scores, share = principal_components(random_vectors(9, 2), count=4)
    assert scores.shape == (9, 4)
    assert (scores[:, 2:] == 0).all()
    assert share[2:].tolist() == [0.0, 0.0]


def test_the_farthest_place_is_positive():
    scores, _ = principal_components(random_vectors(30, 6))
    assert (scores.max(axis=0) == np.abs(scores).max(axis=0)).all()


def test_rotating_the_vectors_keeps_the_colours():
    vectors = random_vectors(50, 6).astype(np.float64)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    colours, share = vector_colours(vectors)
    for other in (vectors @ turn, -vectors, 3 * vectors + 7):
        turned, turned_share = vector_colours(other)
        np.testing.assert_array_equal(turned, colours)
        np.testing.assert_allclose(turned_share, share)


def test_equal_vectors_are_one_grey():
    colours, share = vector_colours(np.ones((4, 3)))
    assert len(np.unique(colours, axis=0)) == 1
    assert np.ptp(colours[0].astype(int)) <= 1
    assert share.tolist() == [0, 0, 0]


def test_like_vectors_get_like_colours():
    line = np.linspace(0, 1, 60)[:, None] * np.array([[1.0, 2.0, 0.5]])
    colours = vector_colours(line)[0].astype(int)
    steps = np.abs(np.diff(colours, axis=0)).sum(axis=1)
    assert steps.max() < 20 < np.abs(colours[0] - colours[-1]).sum()


def test_component_directions():
    axes = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    yellow, blue, red, green, light = component_colours(axes).astype(int)
    grey = component_colours(np.zeros((1, 3)))[0].astype(int)
    assert yellow[2] < grey[2] < blue[2]
    assert green[0] < grey[0] < red[0]
    assert (light > grey).all()


def test_ramp_runs_from_dark_blue_to_yellow():
    ramp = sequential_ramp(10)
    assert ramp[0].tolist() == [0x44, 0x01, 0x54]
    assert ramp[-1].tolist() == [0xFD, 0xE7, 0x25]
    assert len(sequential_ramp(33)) == 33
    assert (np.diff(ramp @ np.array([0.2126, 0.7152, 0.0722])) > 0).all()


# Numbers


def test_quantised_cosines_are_close():
    vectors = random_vectors(60, 64)
    centred = vectors - vectors.mean(axis=0)
    small = quantise(vectors).astype(float)

    def cosine(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosine(small), cosine(centred), atol=0.01)
    assert np.abs(small).max(axis=1).tolist() == [127] * 60


def test_the_mean_itself_is_quantised_to_zero():
    assert quantise(np.array([[1.0, 3.0], [-1.0, -3.0], [0.0, 0.0]])).tolist() == [
        [42, 127],
        [-42, -127],
        [0, 0],
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(101.0), (2, 98, False)),
        (
            -(np.arange(101.0) ** 9),
            (-(98.0**9), -(2.0**9), False),
        ),  # below zero: no logs
        (10.0 ** np.arange(0, 101) / 10, (10.0, 10.0**97, True)),
        (np.r_[np.zeros(99), 7.0], (7e-4, 7, True)),
        (np.array([3, 3, 3]), (2.5, 3.5, False)),
        (np.array([np.nan, np.inf]), (0, 1, False)),
    ],
)
def test_colour_scale(values, expected):
    low, high, logarithmic = colour_scale(values)
    wanted = max(expected[0], expected[1] / 1e4) if expected[2] else expected[0]
    assert (low, high, logarithmic) == pytest.approx((wanted, *expected[1:]))


# Longitudes


def test_places_across_the_180th_meridian_are_joined():
    both = shapely.union(shapely.box(-180, 0, -178, 1), shapely.box(179, 0, 180, 1))
    outlines = np.array(
        [both, shapely.box(170, 0, 171, 1), shapely.box(-177, 0, -176, 1)]
    )
    west, _, east, _ = shapely.bounds(unbroken(outlines)).T
    assert west.tolist() == [179, 170, 183]
    assert east.tolist() == [182, 171, 184]


def test_places_elsewhere_are_not_moved():
    outlines = np.array([shapely.box(x, 0, x + 1, 1) for x in (-120, -1, 0, 100)])
    assert shapely.equals_exact(unbroken(outlines), outlines).all()


def test_empty_outlines_pass():
    outlines = np.array([shapely.Polygon(), shapely.box(-180, 0, -179, 1)])
    assert shapely.bounds(unbroken(outlines))[1].tolist() == [-180, 0, -179, 1]
    assert shapely.is_empty(unbroken(outlines[:1])).all()


# The page


def test_data_decode_to_what_was_given(tmp_path):
    tokens, vectors = squares(), random_vectors()
    income = np.arange(12.0)
    income[3] = np.nan
    data = read_data(page(tmp_path, tokens, vectors, layers={"Income (US$)": income}))
    assert data["ids"] == tokens.names()
    small = array(data, "vectors", "i1").reshape(12, data["dim"])
    np.testing.assert_array_equal(small, quantise(vectors))
    colours = array(data, "colours", "u1").reshape(12, 3)
    np.testing.assert_array_equal(colours, vector_colours(vectors)[0])
    middles = array(data, "middles", "<f4").reshape(12, 2)
    np.testing.assert_allclose(middles, tokens.centroids(), rtol=1e-6)
    [layer] = data["layers"]
    assert (layer["name"], layer["unit"]) == ("Income (US$)", "US$")
    np.testing.assert_array_equal(array(layer, "values", "<f4"), income)


def test_outlines_decode_to_the_polygons(tmp_path):
    tokens = squares()
    data = read_data(page(tmp_path, tokens))
    corners = array(data, "corners", "<f4").reshape(-1, 2)
    rings = np.split(corners, array(data, "ringStart", "<u4")[1:-1])
    starts = array(data, "tokenStart", "<u4")
    drawn = [
        shapely.Polygon(rings[begin], rings[begin + 1 : end])
        for begin, end in itertools.pairwise(starts)
    ]
    assert [len(outline.interiors) for outline in drawn] == [1] + [0] * 11
    assert shapely.equals_exact(
        shapely.normalize(drawn), shapely.normalize(tokens.polygons()), 1e-5
    ).all()


def test_an_empty_outline_has_no_rings(tmp_path):
    outlines = np.array([shapely.box(0, 0, 1, 1), shapely.Polygon()])
    data = read_data(page(tmp_path, ZoneTokens(np.array(["a", "b"]), outlines)))
    assert array(data, "tokenStart", "<u4").tolist() == [0, 1, 1]
    assert np.isnan(array(data, "middles", "<f4")[2:]).all()


def test_grid_tokens_keep_their_plane(tmp_path):
    tokens = GridTokens.from_xy(np.array([[1, 1], [200, 3]]))
    data = read_data(page(tmp_path, tokens))
    assert (data["kind"], data["unitKm"]) == ("grid", 0.5)
    middles = array(data, "middles", "<f4").reshape(2, 2)
    np.testing.assert_array_equal(middles, tokens.xy() - 0.5)


def test_h3_tokens_have_hexagons(tmp_path):
    tokens = H3Tokens.from_cells(["85283473fffffff", "85283477fffffff"])
    data = read_data(page(tmp_path, tokens))
    assert array(data, "ringStart", "<u4").tolist() == [0, 6, 12]
    assert data["unitKm"] is None


def test_the_page_asks_for_nothing(tmp_path):
    text = page(tmp_path, notes=["A note."], scores=[("Task", "R2"), ("Income", "0.7")])
    forbidden = (
        r"https?:|//\w+\.|@import|url\(|fetch\(|import\(|XMLHttp|WebSocket|Worker"
    )
    assert re.findall(forbidden, text) == []
    for tag, attributes in Elements(text).tags:
        assert "src" not in attributes
        assert attributes.get("href", "data:,") == "data:,", tag


def test_the_policy_allows_only_the_own_script(tmp_path):
    text = page(tmp_path)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for t, a in Elements(text).tags if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_text_cannot_become_markup(tmp_path):
    harmless = Elements(
        page(
            tmp_path,
            notes=["n"],
            layers={"l": np.ones(12)},
            labels=["p"] * 12,
            scores=[("s",)],
        )
    )
    text = page(
        tmp_path,
        ZoneTokens(np.array([f"{ATTACK}{i}" for i in range(12)]), squares().outlines),
        title=ATTACK,
        notes=[ATTACK],
        layers={ATTACK: np.ones(12)},
        labels=[ATTACK] * 12,
        scores=[(ATTACK,)],
    )
    attacked = Elements(text)
    assert [tag for tag, _ in attacked.tags] == [tag for tag, _ in harmless.tags]
    assert attacked.seen.count(ATTACK) == 4  # title twice, note, score
    assert read_data(text)["labels"] == [ATTACK] * 12


def test_placeholders_in_text_stay_text(tmp_path):
    assert "<h1>{{data}}</h1>" in page(tmp_path, title="{{data}}")


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert page(tmp_path) == page(tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("title", "Other places", "<h1>Other places</h1>"),
        ("notes", ["Flows are simulated."], "<li>Flows are simulated.</li>"),
        ("layers", {"Rain (mm)": np.arange(12)}, '"unit": "mm"'),
        ("labels", ["Springfield", *[""] * 11], '"labels": ["Springfield", ""'),
        ("scores", [("Task", "R2"), ("Rent", "0.7")], "<th>R2</th></tr><tr><td>Rent"),
        ("similar", 3, '"similar": 3'),
    ],
)
def test_each_option_shows(tmp_path, option, value, shown):
    assert shown not in page(tmp_path)
    assert shown in page(tmp_path, **{option: value})


def test_tokens_and_vectors_show(tmp_path):
    standard = read_data(page(tmp_path))
    other = read_data(page(tmp_path, vectors=random_vectors()[::-1]))
    assert other["colours"] != standard["colours"]
    assert other["vectors"] != standard["vectors"]
    assert read_data(page(tmp_path, squares(11)))["ids"] == standard["ids"][:11]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": np.ones((3, 2))}, "vectors: 3 rows for 12 tokens; expected one"),
        ({"layers": {"rain": np.ones(4)}}, "layer 'rain': 4 rows for 12 tokens"),
        ({"labels": ["a"]}, "labels: 1 rows for 12 tokens"),
        ({"similar": 0}, "similar is 0; expected at least one"),
        (
            {"vectors": np.full((12, 2), np.nan)},
            r"12 of 12 vectors are not finite \(first: zone 0, zone 1, zone 2, \.\.\.",
        ),
    ],
)
def test_bad_input_is_refused(tmp_path, options, message):
    with pytest.raises(MoraError, match=message):
        page(tmp_path, **options)
    assert not (tmp_path / "map.html").exists()


def test_zones_without_outlines_are_refused(tmp_path):
    tokens = ZoneTokens(np.array(["a", "b"]))
    with pytest.raises(NoGeometryError, match="zone tokens have no known outlines"):
        page(tmp_path, tokens)


# The script, where Node can run the part of it that needs no browser


@pytest.fixture(scope="module")
def run_script(tmp_path_factory):
    if shutil.which("node") is None:
        pytest.skip("needs node to run the page's script")
    folder = tmp_path_factory.mktemp("script")

    def run(data: dict, expression: str):
        """Evaluate an expression over ``data`` and ``places`` as the page has them."""
        script = (
            f"{files('mora.explore').joinpath('map_data.js').read_text()}\n"
            f"const data = {json.dumps(data)};\nconst places = readPlaces(data);\n"
            f"console.log(JSON.stringify({expression}));"
        )
        path = folder / "run.js"
        path.write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["node", path], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return run


def test_script_ranks_by_centred_cosine(tmp_path, run_script):
    vectors = random_vectors(12, 16)
    data = read_data(page(tmp_path, vectors=vectors))
    ranked = run_script(
        data,
        "greatest(cosines(decode(data.vectors, Int8Array), data.dim, 4), 4, 5)",
    )
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = [t for t in np.argsort(-unit @ unit[4]) if t != 4][:5]
    assert ranked == expected


def test_script_finds_the_place_under_a_point(tmp_path, run_script):
    data = read_data(page(tmp_path))
    points = [[2.5, 41.5], [0.1, 40.1], [0.5, 40.5], [-0.1, 42.5]]  # third: the hole
    find = "(p, reach) => placeAt(places, mercator.x(p[0]), mercator.y(p[1]), reach)"
    assert run_script(data, f"{points}.map((p) => ({find})(p, 0))") == [6, 0, -1, -1]
    assert run_script(data, f"({find})([0.5, 40.5], 0.001)") == 0


def test_script_measures_great_circles(tmp_path, run_script):
    tokens = squares()
    data = read_data(page(tmp_path, tokens))
    expected = tokens.distance_km(np.array([1]), np.array([10]))[0]
    assert run_script(data, "distanceKm(places, 1, 10)") == pytest.approx(expected)
    grid = GridTokens.from_xy(np.array([[1, 1], [4, 5]]), cell_km=2.0)
    assert run_script(read_data(page(tmp_path, grid)), "distanceKm(places, 0, 1)") == 10


def test_script_fits_the_bulk_of_the_places(tmp_path, run_script):
    outlines = np.array([shapely.box(x / 20, 0, x / 20 + 0.05, 1) for x in range(400)])
    outlines[7] = shapely.box(-160, 0, -159, 1)
    tokens = ZoneTokens(np.array([str(i) for i in range(400)]), outlines)
    data = read_data(page(tmp_path, tokens))
    west, _, east, _ = run_script(
        data, "mainExtent(places).map((x) => (x - 0.5) * 360)"
    )
    assert -6 < west <= 0
    assert east == pytest.approx(20)


def test_script_arithmetic(tmp_path, run_script):
    expected = {
        "roundSteps(0, 97, 5)": [0, 20, 40, 60, 80],
        "roundSteps(-0.25, 0.3, 5)": [-0.2, 0, 0.2],
        "roundPowers(20, 3e6, 4)": [100, 10_000, 1_000_000],
        "roundPowers(2, 11, 4)": [2, 5, 10],
        "[mercator.lat(mercator.y(51.5)), mercator.lon(mercator.x(-7))]": [51.5, -7],
    }
    results = run_script(read_data(page(tmp_path)), f"[{', '.join(expected)}]")
    for result, wanted in zip(results, expected.values(), strict=True):
        assert result == pytest.approx(wanted)
