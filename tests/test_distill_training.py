"""Distillation of a planted field: what is learned, held out, reported, resumed."""

import json

import h3
import numpy as np
import pytest
import torch

from mora.config import TrainingConfig
from mora.distill import distill, load
from mora.distill.config import DistillConfig
from mora.distill.held_out import block_of_cells, hold_out
from mora.distill.network import make_network
from mora.distill.report import NETWORK, DistillReport, score
from mora.distill.sweep import compare, depth_and_width
from mora.distill.task import DistillTask, Scale
from mora.distill.training import network_inputs
from mora.distill.trivial import linear_harmonics, mean_vector, nearest_cell
from mora.embeddings import Embeddings
from mora.errors import MoraError, NoGeometryError
from mora.harmonics import spherical_harmonics
from mora.tokens import GridTokens, H3Tokens

SMALL = DistillConfig(degree=8, width=24, depth=2)
SHORT = TrainingConfig(
    optimizer="adam",
    learning_rate=5e-3,
    weight_decay=0.0,
    batch_size=64,
    epochs=6,
    patience=6,
)


def planted(rings: int = 10, seed: int = 0) -> Embeddings:
    """331 cells of level 3 whose vectors are smooth functions of the place."""
    cells = h3.grid_disk(h3.latlng_to_cell(40, -95, 3), rings)
    tokens = H3Tokens.from_cells(sorted(cells))
    mixing = np.random.default_rng(seed).standard_normal((49, 5))
    vectors = np.tanh(2 * spherical_harmonics(tokens.centroids(), 7) @ mixing)
    vectors = vectors * [1, 2, 3, 4, 5] + [9, 0, 0, 0, 0]
    return Embeddings(tokens, vectors.astype(np.float32), None, {"model": "planted"})


@pytest.fixture(scope="module")
def embeddings():
    return planted()


@pytest.fixture(scope="module")
def trained(embeddings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled")
    training = SHORT.model_copy(update={"epochs": 60, "patience": 60})
    report = distill(embeddings, SMALL, training, folder)
    return folder, report


# --- distill ---


def test_planted_field_is_learned_also_where_no_cell_was_seen(trained):
    _, report = trained
    assert report.score_of("training").r2 > 0.97
    assert report.score_of("random").r2 > 0.95
    for cells in ("random", "blocked"):
        network = report.score_of(cells)
        assert network.r2 > report.score_of(cells, "mean vector").r2 + 0.5
        assert network.cosine > 0.95


def test_folder_gives_the_network_that_was_scored(trained, embeddings):
    folder, report = trained
    model = load(folder)
    held_out = hold_out(embeddings.tokens, SMALL, SHORT.validation_share)
    rows = held_out.tests["random"]
    with torch.no_grad():
        got = model(torch.from_numpy(embeddings.tokens.centroids()[rows])).numpy()
    again = score(NETWORK, "random", got, embeddings.vectors[rows])
    assert again.r2 == pytest.approx(report.score_of("random").r2, abs=1e-5)
    assert model.dim == 5


def test_report_and_card_are_written(trained):
    folder, report = trained
    written = json.loads((folder / "report.json").read_text())
    assert written["scores"][0]["method"] == NETWORK
    assert written["training_loss"] == report.score_of("training").mse
    assert written["settings"]["network"]["degree"] == 8
    card = (folder / "README.md").read_text()
    assert "| random | nearest training cell | 33 |" in card
    assert f"{report.parameters:,} parameters" in card
    assert json.loads((folder / "config.json").read_text())["provenance"] == {
        "model": "planted"
    }


def test_same_seed_gives_the_same_network_and_progress_is_told(tmp_path, embeddings):
    told = []
    for name in ("a", "b"):
        distill(
            *(embeddings, SMALL, SHORT, tmp_path / name),
            lambda done, total: told.append((done, total)),
        )
    files = [(tmp_path / n / "model.safetensors").read_bytes() for n in "ab"]
    assert files[0] == files[1]
    assert told[-1][0] == told[-1][1] == len(told) / 2


def test_stopped_run_ends_with_the_same_weights(tmp_path, embeddings):
    class StopError(Exception):
        pass

    def stop(done, total):
        if done == total // 2:
            raise StopError

    training = SHORT.model_copy(update={"checkpoint_seconds": 0.0})
    distill(embeddings, SMALL, training, tmp_path / "whole")
    with pytest.raises(StopError):
        distill(embeddings, SMALL, training, tmp_path / "stopped", stop)
    told = []
    distill(
        *(embeddings, SMALL, training, tmp_path / "stopped"),
        lambda done, _: told.append(done),
    )
    assert told[0] > 1
    files = [tmp_path / n / "model.safetensors" for n in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


CHANGES = [
    {"degree": 7},
    {"convention": "mora_released_analytic"},
    {"wavelengths_km": (2000.0,)},
    {"wavelengths_km": (2000.0,), "waves": 3},
    {"width": 25},
    {"depth": 3},
    {"dtype": "float64"},
    {"standardise": False},
    {"loss": "cosine+mse"},
    {"loss": "cosine+mse", "cosine_weight": 9.0},
    {"cell_weights": "area"},
    {"protocol": "random"},
    {"protocol": "blocked"},
    {"held_out_share": 0.2},
    {"block_degrees": 3.0},
    {"block_resolution": 1},
    {"refit": True},
    {"seed": 1},
]
BASES = {
    "waves": {"wavelengths_km": (2000.0,)},
    "cosine_weight": {"loss": CHANGES[8]["loss"]},
}


@pytest.fixture(scope="module")
def vectors_of(embeddings, tmp_path_factory):
    """Distil for two epochs; give the vectors that the network then has."""
    training = SHORT.model_copy(update={"epochs": 2})
    known = {}

    def find(changes):
        key = json.dumps(changes, sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("option")
            config = DistillConfig(**{**SMALL.model_dump(), **changes})
            distill(embeddings, config, training, folder)
            with torch.no_grad():
                places = torch.from_numpy(embeddings.tokens.centroids())
                known[key] = load(folder)(places).numpy()
        return known[key]

    return find


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_option_changes_the_vectors(changes, vectors_of):
    base = next((BASES[name] for name in changes if name in BASES), {})
    difference = np.abs(vectors_of(changes) - vectors_of(base)).max()
    assert difference > (1e-12 if changes == {"dtype": "float64"} else 1e-5)


def test_given_weights_decide_what_is_learned(tmp_path, embeddings):
    east = embeddings.tokens.centroids()[:, 0] > -95
    report = {}
    for name, side in (("east", east), ("west", ~east)):
        folder = tmp_path / name
        training = SHORT.model_copy(update={"epochs": 15})
        distill(embeddings, SMALL, training, folder, cell_weights=side.astype(float))
        with torch.no_grad():
            got = load(folder)(torch.from_numpy(embeddings.tokens.centroids())).numpy()
        report[name] = score("", "", got[east], embeddings.vectors[east]).mse
    assert report["east"] < report["west"] / 2


def test_refit_knows_all_cells(tmp_path, embeddings):
    config = SMALL.model_copy(update={"refit": True})
    told = []
    report = distill(
        *(embeddings, config, SHORT, tmp_path),
        lambda done, total: told.append((done, total)),
    )
    assert report.score_of("all").count == len(embeddings)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    with pytest.raises(KeyError):
        report.score_of("all", "mean vector")


def test_vectors_that_are_not_finite_are_named(tmp_path, embeddings):
    vectors = embeddings.vectors.copy()
    vectors[3, 0] = np.nan
    bad = Embeddings(embeddings.tokens, vectors)
    name = embeddings.tokens.names()[3]
    with pytest.raises(MoraError, match=rf"1 of 331 vectors hold .* \({name}\)"):
        distill(bad, SMALL, SHORT, tmp_path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "3 weights, 0 of them negative or missing, for 331 cells"),
        (np.full(331, -1.0), "331 weights, 331 of them negative or missing"),
        (np.zeros(331), "the weights of 331 cells add up to 0; expected a positive"),
    ],
)
def test_weights_that_cannot_be_used(tmp_path, embeddings, weights, message):
    with pytest.raises(MoraError, match=message):
        distill(embeddings, SMALL, SHORT, tmp_path, cell_weights=weights)


# --- what is held out ---


def test_sets_share_no_cell_and_blocks_are_whole(embeddings):
    held_out = hold_out(embeddings.tokens, SMALL, 0.1)
    tests = held_out.tests
    parts = [held_out.training, held_out.validation, *tests.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(331))
    block = block_of_cells(embeddings.tokens, SMALL)
    inside = np.isin(block, block[tests["blocked"]])
    assert inside.sum() == len(tests["blocked"])
    assert len(tests["random"]) == len(held_out.validation) == 33


def test_blocked_validation_takes_whole_blocks(embeddings):
    config = SMALL.model_copy(update={"protocol": "blocked", "block_resolution": 1})
    held_out = hold_out(embeddings.tokens, config, 0.1)
    parent = embeddings.tokens.parents(1)
    assert list(held_out.tests) == ["blocked"]
    assert not set(parent[held_out.validation]) & set(parent[held_out.training])
    assert not set(parent[held_out.tests["blocked"]]) & set(parent[held_out.training])


def test_more_validation_leaves_less_training(embeddings):
    more, less = (hold_out(embeddings.tokens, SMALL, share) for share in (0.3, 0.1))
    assert len(more.training) < len(less.training)


def test_blocks_by_hand():
    tokens = H3Tokens.from_cells(
        [h3.latlng_to_cell(lat, 10.5, 7) for lat in (50.2, 50.8, 51.2)]
    )
    blocks = block_of_cells(tokens, SMALL)
    block = dict(zip(tokens.centroids()[:, 1].round(1), blocks, strict=True))
    assert block[50.2] == block[50.8] != block[51.2]


def test_too_few_cells():
    tokens = planted(1).tokens
    config = SMALL.model_copy(update={"held_out_share": 0.4})
    with pytest.raises(MoraError, match=r"7 cells in \d blocks leave \d for training"):
        hold_out(tokens, config, 0.1)


def test_grid_cells_have_no_blocks():
    tokens = GridTokens.from_xy(np.array([[1, 1], [1, 2]]), width=5, height=5)
    with pytest.raises(NoGeometryError):
        hold_out(tokens, SMALL, 0.1)


# --- the task ---


def make_task(**changes) -> DistillTask:
    """Three cells, two inputs that the network passes on, vectors in other units."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    torch.nn.init.eye_(network[0].weight)
    config = DistillConfig(**changes)
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    return DistillTask(
        network,
        torch.tensor([[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]),
        vectors,
        Scale.of(vectors.numpy(), config.standardise),
        torch.tensor([1.0, 3.0, 1.0]).double(),
        torch.tensor([0, 1]),
        torch.tensor([2]),
        config,
        batch_size=1,
    )


def test_loss_by_hand():
    # Errors (0, 1), (0, 0): mean squares 0.5 and 0, weighted 1 and 3.
    # Cosines 0.7071 and 1.
    task = make_task(standardise=False)
    batch = torch.tensor([0, 1])
    assert task.loss(task.model, batch).item() == pytest.approx(0.125)
    with torch.no_grad():
        assert task.validation_loss(task.model) == pytest.approx(12.5)
    both = make_task(standardise=False, loss="cosine+mse", cosine_weight=2.0)
    expected = 0.125 + 2 * (1 - 0.5**0.5) / 4
    assert both.loss(both.model, batch).item() == pytest.approx(expected)


def test_batches_hold_every_training_cell_once_in_another_order():
    task = make_task()
    assert sorted(torch.cat(list(task.batches(0))).tolist()) == [0, 1]
    orders = {tuple(torch.cat(list(task.batches(e))).tolist()) for e in range(9)}
    assert orders == {(0, 1), (1, 0)}
    assert [len(batch) for batch in task.batches(0)] == [1, 1]


def test_scale_goes_there_and_back_and_into_the_last_layer():
    vectors = np.array([[1.0, 5.0], [3.0, 5.0]])
    scale = Scale.of(vectors, True)
    standard = scale.to_standard(torch.from_numpy(vectors))
    torch.testing.assert_close(standard, torch.tensor([[-1.0, 0], [1, 0]]).double())
    torch.testing.assert_close(scale.from_standard(standard), torch.tensor(vectors))
    layer = torch.nn.Linear(3, 2).double()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    expected = scale.from_standard(layer(x))
    scale.move_into(layer)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_in_training_are_those_of_the_network(embeddings, dtype):
    changes = {"wavelengths_km": (900.0,), "convention": "mora_released_analytic"}
    model = make_network(SMALL.model_copy(update=changes), 3)
    lonlat = embeddings.tokens.centroids()
    got = network_inputs(model, lonlat, dtype)
    expected = model.inputs(torch.from_numpy(lonlat)).to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


# --- scores and trivial methods ---


def test_scores_by_hand():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    one = score("m", "random", np.array([[1.0, 0.0], [0.0, 3.0]]), vectors)
    assert (one.r2, one.cosine, one.mse, one.count) == (-3.0, 1.0, 1.0, 2)
    mean = np.tile(vectors.mean(axis=0), (2, 1))
    assert score("m", "random", mean, vectors).r2 == 0
    assert score("m", "random", np.zeros((2, 2)), vectors).cosine == 0
    assert np.isnan(score("m", "random", mean, mean).r2)


KNOWN = np.array([[0.0, 0.0], [179.0, 0.0]])
VALUES = np.array([[1.0, 2.0], [3.0, 6.0]])


def test_mean_and_nearest_by_hand():
    asked = np.array([[-179.5, 1.0], [10.0, 5.0]])  # the first is across the date line
    np.testing.assert_array_equal(mean_vector(KNOWN, VALUES, asked), [[2.0, 4.0]] * 2)
    np.testing.assert_array_equal(nearest_cell(KNOWN, VALUES, asked), VALUES[::-1])


def test_linear_model_finds_a_linear_field(embeddings):
    lonlat = embeddings.tokens.centroids()
    field = spherical_harmonics(lonlat, 3) @ np.ones((9, 2))
    got = linear_harmonics(lonlat[::2], field[::2], lonlat[1::2])
    np.testing.assert_allclose(got, field[1::2], atol=1e-3)


# --- sweeps ---


@pytest.fixture(scope="module")
def sweep(embeddings, tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("sweep"), []
    config = DistillConfig(degree=4)
    training = SHORT.model_copy(update={"epochs": 2})
    result = depth_and_width(
        *(embeddings, folder),
        depths=(1, 2),
        widths=(4, 8),
        config=config,
        training=training,
        seeds=2,
        progress=lambda done, total: told.append((done, total)),
    )
    return result, folder, told


def test_sweep_has_every_shape_and_kind_of_cells(sweep):
    result, _, told = sweep
    shapes = {(row.depth, row.width) for row in result.rows}
    assert shapes == {(1, 4), (1, 8), (2, 4), (2, 8)}
    assert {row.cells for row in result.rows} >= {"training", "random", "blocked"}
    assert told[0] == (0, 8)
    assert told[-1] == (8, 8)
    first = result.rows[0]
    assert first.parameters == 17 * 4 - 4 + 4 + 5 * 5
    assert first.seeds == 2
    assert first.mse_std > 0


def test_sweep_writes_tables(sweep):
    result, folder, _ = sweep
    text = (folder / "table.md").read_text()
    assert "| 2 x 8 | " in text
    assert "331 cells, at most 2 epochs, 2 seeds, mean ± standard deviation.\n" in text
    lines = (folder / "table.csv").read_text().splitlines()
    assert lines[0].startswith("variant,depth,width,parameters,cells,seeds,r2,r2_std")
    assert len(lines) == 1 + len(result.rows) == 17


def test_single_seed_is_marked(tmp_path, embeddings):
    training = SHORT.model_copy(update={"epochs": 1})
    result = compare(embeddings, {"one": SMALL}, tmp_path, training=training, seeds=1)
    assert "A single seed is no result." in result.to_markdown()
    assert result.rows[0].r2_std is None


def test_sweep_of_nothing(tmp_path, embeddings):
    with pytest.raises(MoraError, match="0 variants and 3 seeds; expected at least"):
        compare(embeddings, {}, tmp_path)


def test_sweep_checks_the_shapes(tmp_path, embeddings):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        depth_and_width(embeddings, tmp_path, depths=(0,))


def test_report_is_what_distill_gives(trained):
    assert isinstance(trained[1], DistillReport)
    assert trained[1].best_epoch <= trained[1].epochs == 60
