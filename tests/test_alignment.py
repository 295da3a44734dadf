import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below
from tests.two_processes import HEADS, TOKENS, planted, settings

from mora.config import EncoderConfig, HeadConfig
from mora.encoder.alignment import (
    AlignmentTask,
    LossOfBatch,
    align,
    build_model,
    embed_tokens,
)
from mora.encoder.model import ModalityBatch
from mora.errors import RunError
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph


def train(folder, *, given=None, encoder=None, heads=HEADS, seed=0, **changes):
    _, graph, line, features = planted()
    return align(
        line,
        normalise(graph),
        features if given is None else given,
        heads,
        encoder or EncoderConfig(),
        settings(**changes),
        folder,
        seed=seed,
    )


def task_of(tokens=TOKENS, seed=0, **changes):
    line = np.ones((tokens, 4), np.float32)
    operator = normalise(MobilityGraph.from_matrix(sp.csr_array((tokens, tokens))))
    model = build_model(line, operator, {}, {}, EncoderConfig(), seed)
    return AlignmentTask(model, {}, settings(**changes), seed)


# ------------------------------------------------------------------ batches


def test_validation_tokens_are_in_no_batch():
    task = task_of(validation_share=0.2)
    assert len(task.validation) == 12
    seen = torch.cat(list(task.batches(0)))
    assert sorted([*seen.tolist(), *task.validation.tolist()]) == list(range(TOKENS))


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        (1000, [54]),
        (54, [54]),
        (53, [27, 27]),
        (20, [18, 18, 18]),
        (13, [11] * 4 + [10]),
    ],
)
def test_batches_are_even(batch_size, sizes):
    assert [len(b) for b in task_of(batch_size=batch_size).batches(3)] == sizes


def test_batches_differ_by_epoch_and_seed_and_by_nothing_else():
    def order(epoch, seed=0):
        return torch.cat(
            list(task_of(seed=seed, batch_size=20).batches(epoch))
        ).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, seed=1)
    assert task_of().validation.tolist() != task_of(seed=1).validation.tolist()


def test_at_least_two_tokens_are_held_out_and_two_are_left():
    assert len(task_of(tokens=4).validation) == 2
    with pytest.raises(RunError, match=r"3 tokens leave 1 for training; expected at"):
        task_of(tokens=3)
    with pytest.raises(RunError, match=r"10 tokens leave 1 for training"):
        task_of(tokens=10, validation_share=0.9)


def test_validation_loss_is_the_mean_over_its_parts():
    _, graph, line, features = planted()
    widths = {name: values.shape[1] for name, (values, _) in features.items()}
    model = build_model(line, normalise(graph), widths, HEADS, EncoderConfig(), 0)
    given = {
        name: ModalityBatch(torch.from_numpy(values), torch.from_numpy(present))
        for name, (values, present) in features.items()
    }
    task = AlignmentTask(model, given, settings(validation_share=0.2, batch_size=6), 0)
    with torch.no_grad():
        halves = [model(part, given).item() for part in task.validation.split(6)]
        assert task.validation_loss(task.model) == pytest.approx(
            sum(halves) / 2, rel=1e-6
        )


def test_features_follow_the_precision_of_the_weights():
    _, graph, line, features = planted()
    widths = {name: values.shape[1] for name, (values, _) in features.items()}
    model = build_model(line, normalise(graph), widths, HEADS, EncoderConfig(), 0)
    given = {
        name: ModalityBatch(torch.from_numpy(values), torch.from_numpy(present))
        for name, (values, present) in features.items()
    }
    loss, batch = LossOfBatch(model, given), torch.arange(20)
    single = loss(batch).item()
    double = loss.double()(batch)
    assert double.dtype == torch.float64
    assert double.item() == pytest.approx(single, rel=1e-6)
    assert loss(batch.flip(0)).item() == pytest.approx(double.item(), rel=1e-12)


# ------------------------------------------------------------------- vectors


def test_vectors_agree_with_dense_powers(tmp_path):
    _, graph, *_ = planted()
    model, _ = train(tmp_path, encoder=EncoderConfig(layers=3))
    weight = graph.symmetric().toarray()
    scale = 1 / np.sqrt(weight.sum(axis=1))
    step = scale[:, None] * weight * scale
    learned = model.mobility.features.detach().numpy().astype(float)
    expected = sum(np.linalg.matrix_power(step, k) @ learned for k in range(4))
    np.testing.assert_allclose(embed_tokens(model, {}), expected, atol=1e-5)
    assert embed_tokens(model, {}).dtype == np.float32


def test_known_operators_on_a_path():
    # 0 - 1 - 2 with weights 4 and 12: weighted degrees 4, 16, 12; counted 1, 2, 1.
    flows = np.array([[0, 4.0, 0], [0, 0, 12], [0, 0, 0]])
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))

    def dense(by):
        indptr, indices, data = normalise(graph, by=by)
        return sp.csr_array((data, indices, indptr), shape=(3, 3)).toarray()

    first, second = 4 / np.sqrt(4 * 16), 12 / np.sqrt(16 * 12)
    expected = np.array([[0, first, 0], [first, 0, second], [0, second, 0]])
    np.testing.assert_allclose(dense("weighted"), expected, rtol=1e-6)
    half = 2**-0.5
    expected = np.array([[0, half, 0], [half, 0, half], [0, half, 0]])
    np.testing.assert_allclose(dense("unweighted"), expected, rtol=1e-6)


def test_scaling_all_weights_changes_nothing(tmp_path):
    vectors = []
    for scale in (1.0, 8.0):
        _, graph, line, features = planted(scale=scale)
        model, _ = align(
            line, normalise(graph), features, HEADS, EncoderConfig(), settings(),
            tmp_path / str(scale),
        )  # fmt: skip
        vectors.append(embed_tokens(model, {}))
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-5)


def test_values_of_tokens_without_a_modality_count_for_nothing(tmp_path):
    *_, given = planted()
    absent = np.arange(TOKENS) % 5 == 0
    values, _ = given["poi"]
    vectors = []
    for number, filler in enumerate((0.0, 7.0, 1e6)):
        filled = np.where(absent[:, None], np.float32(filler), values)
        changed = given | {"poi": (filled, ~absent)}
        model, _ = train(tmp_path / str(number), given=changed)
        vectors.append(embed_tokens(model, {}).tobytes())
    assert vectors[0] == vectors[1] == vectors[2]
    whole, _ = train(tmp_path / "whole")
    assert embed_tokens(whole, {}).tobytes() != vectors[0]


def test_without_modalities_there_is_nothing_to_train(tmp_path):
    *_, line, _ = planted()
    model, state = train(tmp_path, given={})
    np.testing.assert_array_equal(model.mobility.features.detach().numpy(), line)
    assert state.epoch == 0


def test_the_planted_communities_come_apart(tmp_path):
    community, graph, line, _ = planted()
    untrained = build_model(line, normalise(graph), {}, {}, EncoderConfig(layers=0), 0)
    model, state = train(tmp_path, epochs=30)

    def agreement(model):
        vectors = embed_tokens(model, {})
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -2)
        nearest = np.argsort(-cosine, axis=1)[:, :5]
        return (community[nearest] == community[:, None]).mean()

    assert agreement(untrained) < 0.65
    assert agreement(model) > 0.95
    assert state.best_loss < state.history[0]["validation"]


# ---------------------------------------------------------------- parameters


def bits(folder, **options):
    return embed_tokens(train(folder, **options)[0], {}).tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"encoder": EncoderConfig(layers=1)},
        {"heads": HEADS | {"poi": HeadConfig(temperature=0.3)}},
        {"heads": HEADS | {"poi": HeadConfig(kind="mlp", temperature=0.5)}},
        {"batch_size": 20},
        {"validation_share": 0.3},
        {"optimizer": "adam", "weight_decay": 0.5},
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
    ],
    ids=str,
)
def test_changes_the_vectors(tmp_path, changes):
    assert bits(tmp_path / "one") == bits(tmp_path / "same")
    assert bits(tmp_path / "one") != bits(tmp_path / "other", **changes)


def test_progress_and_history_cover_every_epoch(tmp_path):
    _, graph, line, features = planted()
    told = []
    _, state = align(
        line, normalise(graph), features, HEADS, EncoderConfig(), settings(epochs=3),
        tmp_path, progress=lambda *counts: told.append(counts),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(state.history) == 3
