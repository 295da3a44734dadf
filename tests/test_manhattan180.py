import json
import sys

import numpy as np
import pandas as pd
import pytest
from benchmarks import manhattan180 as city
from benchmarks.manhattan_city import DIM, mora_vectors, read_city
from sklearn.linear_model import Ridge

from mora.config.loading import read_preset
from mora.encoder import alignment

REGIONS = 30
EDGES = [(i, i + 1) for i in range(REGIONS - 1)]


@pytest.fixture
def file(tmp_path):
    """Write a city whose check-ins are its trips, and whose crime is its first POI."""
    rng = np.random.default_rng(0)
    od = rng.poisson(20.0, (REGIONS, REGIONS)) * rng.integers(1, 9, REGIONS)[:, None]
    poi = rng.poisson(5.0, (REGIONS, 3))
    path = tmp_path / "regions.npz"
    np.savez(
        path,
        od=od.astype(float),
        poi_counts=poi,
        landuse_counts=rng.poisson(2.0, (REGIONS, 2)),
        image_emb=rng.normal(size=(REGIONS, 4)).astype(np.float32),
        neighbour_edges=np.array(EDGES),
        centroid=rng.uniform(-74, -73, (REGIONS, 2)),
        label_checkin=od.sum(axis=1) - np.diag(od),
        label_crime=poi[:, 0].astype(float),
    )
    return path


def method(name="tool", group="input", embed=None, **options):
    return city.Method(name, group, embed or city.trip_totals, options)


def run(name, scores, seed=0, group="input"):
    given = {f"{label}{kind}": s for label, s in scores.items() for kind in KINDS}
    return city.Run(name, group, "{}", seed, 2, 0.1, given)


KINDS = (*city.KINDS, " clipped", " log1p")


# --------------------------------------------------------------------- input


def test_the_city_is_read_as_every_method_needs_it(file):
    given, labels = read_city(file)
    od = np.load(file)["od"]
    np.testing.assert_array_equal(given.flows.toarray(), od)
    np.testing.assert_array_equal(given.volume.outflow, od.sum(axis=1) - np.diag(od))
    np.testing.assert_array_equal(given.volume.inflow, od.sum(axis=0) - np.diag(od))
    assert {name: block.shape[1] for name, block in given.features.items()} == {
        "poi": 3,
        "landuse": 2,
        "imagery": 4,
    }
    assert given.line.shape == (REGIONS, DIM)
    assert list(labels) == ["check-in", "crime"]
    touching = given.neighbours.toarray()
    np.testing.assert_array_equal(touching, touching.T)
    assert set(np.unique(touching)) == {0, 1}
    assert touching.sum() == 2 * len(EDGES)


def test_the_seed_reaches_every_method(file):
    given, _ = read_city(file, seed=3)
    assert given.seed == 3


# -------------------------------------------------------------------- scores


def test_scores_pool_the_predictions_of_folds_in_their_order():
    rng = np.random.default_rng(1)
    vectors, truth = rng.normal(size=(20, 2)), rng.uniform(0, 1, 20) ** 4
    predicted = np.empty(20)
    for fold in range(5):
        test = np.arange(20) // 4 == fold
        model = Ridge(alpha=1.0).fit(vectors[~test], truth[~test])
        predicted[test] = model.predict(vectors[test])

    def r2(guess):
        return 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()

    lonlat = np.column_stack([np.arange(20) * 0.01, np.zeros(20)])
    scores = city.city_scores(vectors, {"crime": truth}, lonlat)
    kinds = ("", " 10-fold", " blocked", " clipped", " log1p")
    assert set(scores) == {f"crime{kind}" for kind in kinds}
    assert predicted.min() < 0
    assert scores["crime"] == pytest.approx(r2(predicted))
    assert scores["crime clipped"] == pytest.approx(r2(predicted.clip(0)))
    log = city.city_scores(vectors, {"crime": np.log1p(truth)}, lonlat)["crime"]
    assert scores["crime log1p"] == pytest.approx(log)
    assert len({round(scores[f"crime{kind}"], 6) for kind in kinds[:3]}) == 3


def test_blocked_folds_leave_out_whole_squares():
    # The label is the square's own number: only rows of the same square tell it.
    square = np.tile(np.arange(10), 6)
    lonlat = np.column_stack([square * city.SQUARE + 0.01, np.zeros(60)])
    labels = {"crime": np.random.default_rng(0).random(10)[square]}
    scores = city.city_scores(10.0 * np.eye(10)[square], labels, lonlat)
    assert scores["crime"] > scores["crime blocked"]
    assert scores["crime blocked"] < 0.1


def test_what_gives_the_label_away_scores_one(file):
    given, labels = read_city(file)
    scores = city.city_scores(city.trip_totals(given), labels, given.lonlat)
    assert scores["check-in"] == pytest.approx(1, abs=1e-6)
    assert scores["crime"] < 0.5


# ------------------------------------------------------------------- methods


def test_every_baseline_and_mora_are_compared():
    names = [each.name for each in city.list_methods()]
    ours = {"mora", "mora, aligned vector alone"}
    assert {*city.BASELINES, *ours, "trip totals", "flow_svd, log and sqrt"} == {
        name for name in names if not name.endswith(" as it comes")
    }


def test_quick_means_less_training():
    assert not any("epochs" in each.options for each in city.list_methods())
    quick = {each.name: each.options for each in city.list_methods(quick=True)}
    assert quick["mora"] == city.QUICK["mora"]


def test_blocks_of_features_are_taken_as_they_come(file):
    given, _ = read_city(file)
    methods = {each.name: each for each in city.list_methods()}
    for name, block in given.features.items():
        np.testing.assert_array_equal(
            methods[f"{name} as it comes"].embed(given), block
        )


def test_mora_is_trained_with_the_default_preset(file, monkeypatch):
    seen = {}
    whole = alignment.align

    def align(*given, seed):
        seen["training"], seen["seed"] = given[5], seed
        return whole(*given, seed=seed)

    monkeypatch.setattr(alignment, "align", align)
    given, _ = read_city(file, seed=1)
    vectors = mora_vectors(given, epochs=1)
    assert vectors.shape == (REGIONS, DIM)
    assert np.isfinite(vectors).all()
    assert seen["seed"] == 1
    assert seen["training"].epochs == 1
    preset = read_preset("default")["training"]
    assert seen["training"].learning_rate == preset["learning_rate"]


# ---------------------------------------------------------------------- runs


def test_a_method_that_lacks_something_gives_the_reason(file):
    given, labels = read_city(file)
    got = city.run_once(method(embed=lambda g: g.require_tokens()), given, labels)
    assert got.scores is None
    assert got.reason.startswith("this run has no places")


def test_finished_runs_are_not_done_again(file, tmp_path):
    calls = []

    def embed(given):
        calls.append(given.seed)
        return city.trip_totals(given)

    output = tmp_path / "out"
    first = city.run_all(file, 1, output, [method(embed=embed)])
    assert city.run_all(file, 1, output, [method(embed=embed)]) == first
    assert calls == [0]
    city.run_all(file, 2, output, [method(embed=embed)])
    assert calls == [0, 1]
    city.run_all(file, 1, output, [method(embed=embed, epochs=3)])
    assert calls == [0, 1, 0]


def test_a_line_cut_short_is_dropped(file, tmp_path):
    city.run_all(file, 2, tmp_path, [method()])
    done = tmp_path / "runs.jsonl"
    whole = done.read_text()
    done.write_text(whole[:-20])
    assert [key[2] for key in city.read_runs(done)] == [0]
    city.run_all(file, 2, tmp_path, [method()])
    assert len(done.read_text().splitlines()) == 2


def test_what_lacked_something_is_tried_again(file, tmp_path):
    broken = method(embed=lambda g: g.require_tokens())
    city.run_all(file, 1, tmp_path, [broken])
    runs = city.run_all(file, 1, tmp_path, [method()])
    assert runs["tool"][0].scores


# -------------------------------------------------------------------- tables


def test_summary_has_means_and_deviations_the_best_first():
    runs = {
        "weak": [run("weak", {"check-in": 0.1, "crime": 0.1})],
        "strong": [
            run("strong", {"check-in": 0.5, "crime": 0.4}, seed=0),
            run("strong", {"check-in": 0.7, "crime": 0.4}, seed=1),
        ],
        "absent": [city.Run("absent", "trained", "{}", 0, reason="no places")],
    }
    summary = city.summarise(runs)
    assert list(summary["method"]) == ["strong", "weak", "absent"]
    best = summary.iloc[0]
    assert best["check-in"] == pytest.approx(0.6)
    assert best["check-in std"] == pytest.approx(np.sqrt(0.02))
    assert summary["seeds"].tolist() == [2, 1, 0]


def test_text_tells_first_that_something_trivial_wins():
    runs = {
        "hrep": [run("hrep", {"check-in": 0.6, "crime": 0.7}, group="trained")],
        "totals": [run("totals", {"check-in": 0.7, "crime": 0.3})],
        "absent": [city.Run("absent", "trained", "{}", 0, reason="no places")],
    }
    text = city.to_markdown(city.summarise(runs), quick=False)
    first, second = text.split("\n")[2:4]
    assert first == "Best on check-in: totals, R2 0.700; it learns nothing."
    assert second == "Best on crime: hrep, R2 0.700."
    assert "| hrep | 2 | 1 | 0.600 | 0.700 | 0.600 | 0.700 | 0.600 | 0.700 |" in text
    assert "| 0.70-0.75 | 0.64-0.69 |" in text
    assert "- absent: no places" in text
    assert "Quick" not in text
    assert "Quick" in city.to_markdown(city.summarise(runs), quick=True)


def test_the_command_writes_three_files(file, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    monkeypatch.setattr(city, "shared_data", lambda _: file.parent)
    monkeypatch.setattr(city, "list_methods", lambda quick: [method(quick=quick)])
    arguments = ["manhattan180", "--seeds", "2", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    city.main()
    [row] = json.loads((output / "results.json").read_text())
    assert row["seeds"] == 2
    assert row["check-in std"] == pytest.approx(0)
    assert pd.read_csv(output / "results.csv")["method"].tolist() == ["tool"]
    assert (output / "results.md").read_text() in capsys.readouterr().out


def test_without_the_data_the_command_says_so(monkeypatch):
    monkeypatch.setattr(city, "shared_data", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["manhattan180"])
    with pytest.raises(SystemExit, match="set MORA_SHARED"):
        city.main()
