import json

import h3
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import save_file
from tests.small_run import settings, write_city

from mora.embeddings import Embeddings, read_embeddings
from mora.encoder.heads import make_head
from mora.errors import GraphError, MoraError, PersonalDataError, RunError
from mora.explore.search import PlaceSearch
from mora.explore.word_ranking import MOVEMENT_WEIGHT, score_words
from mora.explore.word_reading import has_words, read_word_search
from mora.explore.words import EVERYDAY, PROMPTS, WordSearch
from mora.graph.storage import MobilityGraph
from mora.modalities import Features
from mora.modalities.text import HashingEncoder
from mora.personal import mark_personal
from mora.tokens import H3Tokens

COLUMNS = 24


class Letters:
    """Counts the letters a, b and c: vectors one can work out by hand."""

    name, dim, asked = "letters", 3, 0

    def encode(self, texts):
        self.asked += len(texts)
        return np.array([[t.count(c) for c in "abc"] for t in texts], dtype=np.float32)


def of_letters(**changes):
    """Texts "aab", "b" and none; the head takes the first two columns."""
    values = np.array([[2.0, 1, 0, 5], [0, 1, 0, 7], [9, 9, 9, 9]])
    features = Features.from_values(
        values,
        np.array([True, True, False]),
        ["name 0", "name 1", "name 2", "count x"],
        {"encoder": "letters"},
    )
    given = {"encoder": Letters(), "features": features, "head": lambda x: x}
    return WordSearch(**(given | changes))


def write_run(folder, *, kind="linear", standardise=True, align=True, seed=0):
    """Write what a run of 19 cells leaves; give its features and its head."""
    encoder, rng = HashingEncoder(COLUMNS), np.random.default_rng(seed)
    tokens = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(48.8, 2.3, 6), 2))
    texts = [f"place {'abc'[row % 3] * 5}" for row in range(len(tokens))]
    features = Features.from_values(
        encoder.encode(texts),
        rng.random(len(tokens)) < 0.8,
        [f"name {i}" for i in range(COLUMNS)],
        {"encoder": encoder.name},
    )
    features.write(folder / "features", "shops")
    head = make_head(kind, COLUMNS, 5, torch.Generator().manual_seed(seed))
    weights = {f"heads.shops.{k}": v for k, v in head.state_dict().items()}
    (folder / "train").mkdir(parents=True)
    save_file(weights, folder / "train" / "model.safetensors")
    modality = {"kind": "poi", "align": align, "standardise": standardise}
    modality |= {"head": {"kind": kind}, "options": {"encoder": "hashing"}}
    manifest = {"settings": {"modalities": {"shops": modality}}}
    (folder / "train" / "manifest.json").write_text(json.dumps(manifest))
    vectors = rng.normal(size=(len(tokens), 5)).astype(np.float32)
    np.save(folder / "train" / "vectors.npy", vectors)
    Embeddings(tokens, vectors).write(folder / "embeddings.parquet")
    write_graph(folder / "graph" / "edges", len(tokens))
    return features, head


def write_graph(folder, tokens):
    """Write a ring of trips, of weights 1, 2, 3 and so on."""
    first = np.arange(tokens)
    trips = sp.coo_array((first + 1.0, (first, (first + 1) % tokens)))
    MobilityGraph.from_matrix(trips).write(folder)


def test_a_text_is_standardised_as_the_places_were():
    # Means 1, 1, 0 and 6; deviations 1, 0, 0 and 1; constant columns become 0.
    np.testing.assert_allclose(of_letters().embed("aaab"), [2, 0, 0, 0])
    np.testing.assert_allclose(
        of_letters(standardise=False).embed("aaab"), [3, 1, 0, 6]
    )


def test_the_text_of_a_place_becomes_the_vector_of_its_head():
    words = of_letters()
    known = words_features().standardised().values
    for row, text in enumerate(["aab", "b"]):
        np.testing.assert_allclose(words.embed(text)[:3], known[row, :3], atol=1e-6)


def words_features():
    values = np.array([[2.0, 1, 0, 5], [0, 1, 0, 7], [0, 0, 0, 0]])
    names = ["name 0", "name 1", "name 2", "count x"]
    return Features.from_values(values, np.array([True, True, False]), names)


def test_text_match_by_hand():
    match = of_letters().text_match("a")
    np.testing.assert_allclose(match, [2 / np.sqrt(5), 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(of_letters().text_match(" aaa "), match, atol=1e-6)


def test_a_text_without_meaning_matches_nothing():
    assert of_letters().text_match("xyz").tolist()[:2] == [0, 0]


def test_a_text_is_encoded_once():
    encoder = Letters()
    words = of_letters(encoder=encoder)
    words.embed("ab")
    words.text_match("ab")
    assert encoder.asked == 1


def test_a_query_by_hand(monkeypatch):
    monkeypatch.setattr("mora.explore.words.PROMPTS", ("{}", "{}b"))
    monkeypatch.setattr("mora.explore.words.EVERYDAY", ("a", "b"))
    words = of_letters(standardise=False, head=lambda x: x[:, :2])
    # Ways to say it: (1, 0) and (1, 1); everyday words: (1, 0) and (0, 1).
    middle = np.array([1 + np.sqrt(0.5), np.sqrt(0.5)])
    middle /= np.linalg.norm(middle)
    across = (middle[0] - middle[1]) / 2  # what is left without the part along (1, 1)
    np.testing.assert_allclose(words.query("a"), [across, -across], atol=1e-6)
    np.testing.assert_allclose(words.query(" a "), words.query("a"))


def test_nothing_is_left_of_what_everyday_words_share():
    words = of_letters(standardise=False, head=lambda x: x[:, :3])
    said = np.array([words.embed(word) for word in EVERYDAY])
    length = np.linalg.norm(said, axis=1, keepdims=True)
    shared = (said / np.where(length > 0, length, 1)).mean(axis=0)
    for text in ("aa", "abc", "cab ride"):
        assert np.linalg.norm(words.query(text)) > 0.01
        assert abs(words.query(text) @ shared) < 1e-6


def test_a_text_like_every_other_asks_for_nothing():
    words = of_letters(head=lambda x: np.ones((len(x), 3)))
    np.testing.assert_allclose(words.query("a"), 0, atol=1e-6)


@pytest.mark.parametrize("text", ["", "  ", "a" * 501])
def test_other_texts_are_refused(text):
    with pytest.raises(MoraError, match=r"the text has \d+ letters; expected 1 to 500"):
        of_letters().embed(text)
    for ask in (of_letters().text_match, of_letters().query):
        with pytest.raises(MoraError, match="letters; expected 1 to 500"):
            ask(text)


def test_another_encoder_is_refused():
    other = Letters()
    other.name = "digits"
    with pytest.raises(RunError, match=r"encoded by 'letters' .* encoder 'digits'"):
        of_letters(encoder=other)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("standardise", [True, False])
def test_head_of_a_run_is_rebuilt(tmp_path, kind, standardise):
    features, head = write_run(tmp_path, kind=kind, standardise=standardise)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    seen = features.standardised() if standardise else features
    row = int(np.flatnonzero(features.present)[0])
    with torch.no_grad():
        expected = head(torch.from_numpy(seen.values[[row]])).numpy()[0]
    text = f"place {'abc'[row % 3] * 5}"
    np.testing.assert_allclose(words.embed(text), expected, atol=1e-5)


def test_words_rank_the_places(tmp_path):
    features, _ = write_run(tmp_path)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    embeddings = Embeddings(
        H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(48.8, 2.3, 6), 2)),
        np.random.default_rng(3).normal(size=(19, 5)).astype(np.float32),
    )
    index = PlaceSearch(embeddings, words)
    scores = score_words(words, unit(words.places), "place aaaaa")
    found = index.words("place aaaaa", 4)
    np.testing.assert_array_equal(found.tokens, np.argsort(-scores)[:4])
    np.testing.assert_allclose(found.scores, np.sort(scores)[::-1][:4])
    match = index.text_match("place aaaaa")
    same = features.present & (np.arange(19) % 3 == 0)
    np.testing.assert_allclose(match[same], 1, atol=1e-5)
    assert np.isnan(match[~features.present]).all()
    some = embeddings.tokens.ids[:2]
    assert set(index.words("place", 9, some).tokens) == {0, 1}


def test_a_run_without_texts_is_refused(tmp_path):
    write_run(tmp_path, align=False)
    assert not has_words(tmp_path)
    with pytest.raises(RunError, match="aligned shops; expected one of kind 'poi'"):
        read_word_search(tmp_path)


def test_an_unfinished_run_is_refused(tmp_path):
    assert not has_words(tmp_path)
    with pytest.raises(RunError, match="expected the folder of a finished run"):
        read_word_search(tmp_path)


def test_weights_of_another_head_are_refused(tmp_path):
    write_run(tmp_path)
    assert has_words(tmp_path)
    save_file({"heads.x.weight": torch.ones(2)}, tmp_path / "train/model.safetensors")
    with pytest.raises(RunError, match="no head of 24 columns for 'shops'"):
        read_word_search(tmp_path, HashingEncoder(COLUMNS))


def test_personal_data_are_refused(tmp_path):
    write_run(tmp_path)
    mark_personal(tmp_path, "users")
    with pytest.raises(PersonalDataError):
        read_word_search(tmp_path)


@pytest.mark.slow
def test_words_find_the_community_that_they_are_said_in(tmp_path):
    from mora.pipeline import run

    city = write_city(tmp_path)
    config = settings(tmp_path)
    config["training"] |= {"epochs": 60}
    embeddings = run(config, folder=tmp_path / "run", until="embed")
    index = PlaceSearch(embeddings, read_word_search(tmp_path / "run"))
    order = city.tokens.encode(embeddings.tokens.ids)
    for side, word in enumerate(["bakery", "warehouse"]):
        found = index.words(word, 20).tokens
        assert (city.community[order][found] == side).mean() > 0.8


def test_texts_are_compared_with_the_aligned_vectors_not_with_the_exported(tmp_path):
    write_run(tmp_path)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    tokens = read_embeddings(tmp_path / "embeddings.parquet").tokens
    exported = np.random.default_rng(1).normal(size=(len(tokens), 7))
    index = PlaceSearch(Embeddings(tokens, exported.astype(np.float32)), words)
    query = words.query("aaaaa")
    found = index.aligned(query, k=len(tokens))
    aligned = unit(np.load(tmp_path / "train" / "vectors.npy"))
    cosines = aligned @ (query / np.linalg.norm(query))
    np.testing.assert_array_equal(found.tokens, np.argsort(-cosines, kind="stable"))
    np.testing.assert_allclose(found.scores, np.sort(cosines)[::-1], atol=1e-5)
    scores = score_words(words, aligned, "aaaaa")
    best = index.words("aaaaa", k=len(tokens))
    np.testing.assert_array_equal(best.tokens, np.argsort(-scores, kind="stable"))
    with pytest.raises(MoraError, match=r"shape \(7,\); expected 5"):
        index.aligned(exported[0])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def standard(values):
    return (values - values.mean()) / values.std()


def test_own_texts_are_compared_without_what_all_have_in_common(tmp_path):
    features, _ = write_run(tmp_path)
    encoder = HashingEncoder(COLUMNS)
    words = read_word_search(tmp_path, encoder)
    known = features.present
    texts = unit(features.values[known].astype(np.float64))
    away = unit(texts - texts.mean(axis=0))
    said = unit(encoder.encode([p.format("aaaaa") for p in PROMPTS])).mean(axis=0)
    got = words.own_texts(" aaaaa ")
    np.testing.assert_allclose(
        got[known], away @ said / np.linalg.norm(said), atol=1e-5
    )
    assert (got[~known] == 0).all()


def test_places_of_one_text_tell_nothing_apart():
    values = np.tile([1.0, 0.3, 0.2], (4, 1))
    features = Features.from_values(
        values, np.ones(4, bool), ["n 0", "n 1", "n 2"], {"encoder": "letters"}
    )
    assert (of_letters(features=features).own_texts("a") == 0).all()


def test_the_score_by_hand(tmp_path):
    write_run(tmp_path)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    places = unit(words.places.astype(np.float64))
    meaning = standard(places @ words.query("aaaaa"))
    meaning += standard(words.own_texts("aaaaa"))
    first = np.argsort(-meaning)[:1]  # a tenth of 19
    away = unit(places - places.mean(axis=0))
    meaning = standard(meaning + standard(away @ away[first].mean(axis=0)))
    np.testing.assert_allclose(score_words(words, places, "aaaaa", 0), meaning)
    busy = np.arange(1, 20) + np.roll(np.arange(1, 20), 1)  # trips to both neighbours
    np.testing.assert_allclose(words.movement, busy)
    for weight in (MOVEMENT_WEIGHT, 3):
        expected = meaning + weight * standard(np.log1p(busy))
        got = score_words(words, places, "aaaaa", weight)
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_busy_places_come_first_as_movement_counts_more(tmp_path):
    write_run(tmp_path)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    index = PlaceSearch(read_embeddings(tmp_path / "embeddings.parquet"), words)
    found = index.words("aaaaa", 19, movement=1000).tokens
    assert (np.diff(words.movement[found]) <= 0).all()
    meaning = index.words("aaaaa", 19, movement=0).tokens
    assert meaning.tolist() != found.tolist()
    words.movement = None
    assert index.words("aaaaa", 19, movement=9).tokens.tolist() == meaning.tolist()


@pytest.mark.parametrize(("k", "movement"), [(0, 1), (3, -0.1), (3, np.nan)])
def test_other_counts_and_weights_are_refused(tmp_path, k, movement):
    write_run(tmp_path)
    words = read_word_search(tmp_path, HashingEncoder(COLUMNS))
    index = PlaceSearch(read_embeddings(tmp_path / "embeddings.parquet"), words)
    with pytest.raises(MoraError, match="expected at least 1, and a weight of 0 or"):
        index.words("aaaaa", k, movement=movement)


def test_a_run_without_its_graph_is_refused(tmp_path):
    write_run(tmp_path)
    (tmp_path / "graph" / "edges" / "indptr.npy").unlink()
    with pytest.raises(GraphError, match="Build the graph again"):
        read_word_search(tmp_path, HashingEncoder(COLUMNS))
