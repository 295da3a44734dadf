import numpy as np
import pandas as pd
import pytest

from mora.errors import ConfigError, MissingColumnError, TableError
from mora.modalities import build_poi
from mora.modalities.poi import (
    category_sentences,
    clean_text,
    count_values,
    poi_texts,
)
from mora.modalities.text import HashingEncoder
from mora.tokens import ZoneTokens

ZONES = ZoneTokens.from_zones(["a", "b", "c", "d"])


class LengthEncoder:
    """Vectors (length, 1), so that means can be worked out by hand."""

    name = "length"
    dim = 2

    def __init__(self):
        self.batches: list[list[str]] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.batches.append(texts)
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


LENGTH = LengthEncoder()


def shops() -> pd.DataFrame:
    """Three POIs in a, one in b, a nameless one in c, none in d, one elsewhere."""
    return pd.DataFrame(
        {
            "token": ["a", "a", "a", "b", "c", "z"],
            "name": ["Aldi", "Aldi", "Spar AG", "Lidl & Co", None, "Rewe"],
            "category": ["shop", "bank", "shop", None, " ", "shop"],
        },
        index=[0, 0, 1, 2, 3, 4],  # as after joining files
    )


def test_mean_of_the_names_by_hand():
    # a: (4 + 4 + 7) / 3; b: 9; c has a POI without a name and d has none.
    features = build_poi(ZONES, shops(), encoder=LENGTH)
    assert features.columns == ("name 0", "name 1")
    np.testing.assert_array_equal(features.values, [[5, 1], [9, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(features.present, [True, True, False, False])
    assert features.notes == {
        "pois": 6,
        "dropped": 1,
        "without_text": 1,
        "distinct_texts": 3,
        "filled_values": 0,
        "encoder": "length",
    }


def test_each_name_is_encoded_once_and_only_inside():
    encoder = LengthEncoder()
    build_poi(ZONES, shops(), encoder=encoder)
    assert encoder.batches == [["Lidl & Co", "Spar AG", "Aldi"]]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("name", "Aldi|Aldi|Spar AG|Lidl & Co|none|Rewe"),
        ("category", "shop|bank|shop|none|none|shop"),
        (
            "name and category",
            "Aldi, shop|Aldi, bank|Spar AG, shop|Lidl & Co|none|Rewe, shop",
        ),
    ],
)
def test_texts_by_option(text, texts):
    assert "|".join(poi_texts(shops(), text).fillna("none")) == texts


def test_text_option_changes_the_features():
    features = build_poi(ZONES, shops(), encoder=LENGTH, text="name and category")
    assert features.columns[0] == "name and category 0"
    np.testing.assert_allclose(features.values[0], [(10 + 10 + 13) / 3, 1])


def test_category_alone_stands_in_for_a_name():
    frame = pd.DataFrame({"token": ["a"], "name": [None], "category": ["bank"]})
    features = build_poi(ZONES, frame, encoder=LENGTH, text="name and category")
    np.testing.assert_array_equal(features.values[0], [4, 1])


def test_clean_text():
    column = pd.Series(pd.Categorical(["  bank ", "", None, " "]))
    assert clean_text(column).fillna("none").tolist() == ["bank", *["none"] * 3]


def test_statistics_as_counts():
    features = build_poi(ZONES, shops(), encoder=LENGTH, statistics="counts")
    assert features.columns[2:] == ("count shop", "count bank")
    np.testing.assert_allclose(
        features.values[:, 2:], np.log1p([[2, 1], [0, 0], [0, 0], [0, 0]]), rtol=1e-6
    )
    # c has POIs but no name, and gets the mean over POIs: (3 * 5 + 1 * 9) / 4.
    np.testing.assert_array_equal(features.present, [True, True, True, False])
    np.testing.assert_array_equal(features.values[2, :2], [6, 1])
    assert features.notes["filled_values"] == 2


def test_statistics_as_shares_among_all_categories():
    features = build_poi(ZONES, shops(), encoder=LENGTH, statistics="shares", top=1)
    assert features.columns[2:] == ("share shop",)
    np.testing.assert_allclose(features.values[:, 2], [2 / 3, 0, 0, 0], rtol=1e-6)


def test_statistics_as_text():
    features = build_poi(ZONES, shops(), encoder=LENGTH, statistics="text")
    assert features.columns[2:] == ("statistics 0", "statistics 1")
    # "2 shop, 1 bank" has 14 characters; b has no category, c no name either.
    np.testing.assert_array_equal(
        features.values[:, 2:], [[14, 1], [14, 1], [0, 0], [0, 0]]
    )


@pytest.mark.parametrize("statistics", ["counts", "shares", "text"])
def test_top_limits_the_categories(statistics):
    one, two = (
        build_poi(ZONES, shops(), encoder=LENGTH, statistics=statistics, top=top)
        for top in (1, 2)
    )
    assert not np.array_equal(one.values, two.values)


def test_counts_agree_with_a_loop():
    rng = np.random.default_rng(0)
    token = rng.integers(0, 5, 200)
    value = pd.Series(rng.choice(["x", "y", "z"], 200)).where(rng.random(200) < 0.8)
    counts, distinct = count_values(token, value, 5)
    assert distinct.tolist() == ["x", "y", "z"]
    for t in range(5):
        for v in range(3):
            assert counts[t, v] == ((token == t) & (value == distinct[v])).sum()


def test_sentences_put_the_largest_number_first():
    numbers = np.array([[3, 12, 3], [0, 0, 0], [0, 0, 1]], dtype=np.float32)
    assert category_sentences(numbers, ["bank", "restaurant", "park"]) == [
        "12 restaurant, 3 bank, 3 park",
        "",
        "1 park",
    ]


def test_order_of_pois_does_not_matter():
    features = build_poi(ZONES, shops(), encoder=LENGTH, statistics="counts")
    turned = build_poi(ZONES, shops()[::-1], encoder=LENGTH, statistics="counts")
    np.testing.assert_allclose(turned.values, features.values, rtol=1e-6)


def test_encoder_by_name_is_the_mean_of_its_vectors():
    features = build_poi(ZONES, shops(), encoder="hashing")
    vectors = HashingEncoder().encode(["Aldi", "Aldi", "Spar AG"])
    np.testing.assert_allclose(features.values[0], vectors.mean(axis=0), atol=1e-6)
    assert features.notes["encoder"] == HashingEncoder().name


def test_names_and_sentences_are_encoded_together():
    # "1 park" is a name in a and a sentence in b; it is encoded once
    frame = pd.DataFrame(
        {
            "token": ["a", "b", "b"],
            "name": ["1 park", "Park am See", None],
            "category": ["bank", None, "park"],
        }
    )
    encoder, seen = LengthEncoder(), []
    features = build_poi(
        ZONES,
        frame,
        encoder=encoder,
        statistics="text",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert encoder.batches == [["Park am See", "1 park", "1 bank", ""]]
    assert seen == [(4, 4)]
    np.testing.assert_array_equal(features.values[:2], [[6, 1, 6, 1], [11, 1, 6, 1]])


def test_batch_size_and_progress():
    encoder, seen = LengthEncoder(), []
    build_poi(
        ZONES,
        shops(),
        encoder=encoder,
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [len(batch) for batch in encoder.batches] == [2, 1]
    assert seen == [(2, 3), (3, 3)]


@pytest.mark.parametrize("as_text", [True, False])
def test_cache_folder_saves_encoding(tmp_path, as_text):
    folder = str(tmp_path) if as_text else tmp_path
    first = build_poi(ZONES, shops(), encoder=LENGTH, cache_folder=folder)
    encoder = LengthEncoder()
    again = build_poi(ZONES, shops(), encoder=encoder, cache_folder=folder)
    assert encoder.batches == []
    np.testing.assert_array_equal(again.values, first.values)


@pytest.mark.parametrize(
    "options", [{"text": "title"}, {"statistics": "sums"}, {"top": 0}]
)
def test_unknown_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"expected text name, category.*top >= 1"):
        build_poi(ZONES, shops(), encoder=LENGTH, **options)


def test_missing_columns_are_named():
    with pytest.raises(MissingColumnError, match="no column 'name'"):
        build_poi(ZONES, shops().drop(columns="name"), encoder=LENGTH)
    with pytest.raises(MissingColumnError, match="no column 'category'"):
        build_poi(
            ZONES,
            shops().drop(columns="category"),
            encoder=LENGTH,
            statistics="counts",
        )


def test_pois_that_are_all_outside_are_refused():
    frame = pd.DataFrame({"token": ["y", "z"], "name": ["Aldi", "Lidl"]})
    with pytest.raises(TableError, match="2 of 2 POIs lie outside all 4 zone tokens"):
        build_poi(ZONES, frame, encoder=LENGTH)


def test_pois_without_any_text_are_refused():
    frame = pd.DataFrame({"token": ["a", "z"], "name": [" ", "Lidl"]})
    with pytest.raises(TableError, match="none of 1 POIs inside the tokens has a name"):
        build_poi(ZONES, frame, encoder=LENGTH)
