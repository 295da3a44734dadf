import csv
import io
import math

import numpy as np
import pytest

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.scores import score_users
from mora.trajectories.humob.scoring import compare, paired_score

ROW = GridTokens.from_xy(np.array([[x, 1] for x in range(1, 10)]), 9, 1)
TRUTH = build_events(
    np.repeat([2, 5, 7], 4),
    np.tile([0, 0, 1, 1], 3),
    np.tile([1, 2], 6),
    np.arange(12) % 9,
    ROW,
)
EXACT = TRUTH.token
FLAT = np.full(12, 4, np.int32)
NEAR = np.where(np.arange(12) < 8, EXACT, 0).astype(np.int32)
MODELS = {"medoid": FLAT, "exact": EXACT, "near": NEAR}


def test_paired_score_by_hand():
    own, base = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 2.0])
    score = paired_score("a", "geo_bleu", own, base)
    assert score.mean == pytest.approx(3.0)
    assert score.standard_error == pytest.approx(math.sqrt(7 / 3))  # variance 7
    assert score.difference == pytest.approx(1.0)  # of -1, 0 and 4
    assert score.difference_error == pytest.approx(math.sqrt(7 / 3))
    assert (score.wins, score.losses, score.users) == (1, 1, 3)


def test_less_wins_in_dtw():
    own, base = np.array([1.0, 2.0, 6.0, 7.0]), np.array([2.0, 3.0, 2.0, 7.0])
    score = paired_score("a", "dtw_km", own, base)
    assert (score.wins, score.losses) == (2, 1)


def test_agrees_with_numpy_over_users():
    table = compare(MODELS, TRUTH)
    scored = {m: score_users(TRUTH.with_tokens(t), TRUTH) for m, t in MODELS.items()}
    for metric in ("geo_bleu", "dtw_km", "accuracy"):
        own, base = (getattr(scored[m], metric) for m in ("near", "medoid"))
        found = table.find("near", metric)
        assert found.mean == pytest.approx(own.mean())
        assert found.difference == pytest.approx((own - base).mean())
        assert found.difference_error == pytest.approx(
            (own - base).std(ddof=1) / math.sqrt(3)
        )


def test_the_reference_differs_by_nothing_from_itself():
    score = compare(MODELS, TRUTH).find("medoid", "geo_bleu")
    assert (score.difference, score.difference_error) == (0.0, 0.0)
    assert (score.wins, score.losses) == (0, 0)


def test_exact_predictions_are_perfect():
    table = compare(MODELS, TRUTH)
    assert table.find("exact", "geo_bleu").mean == pytest.approx(1.0)
    assert table.find("exact", "accuracy").mean == 1.0
    assert table.find("exact", "dtw_km").wins > 0


def test_the_order_of_models_changes_no_score():
    turned = compare(dict(reversed(MODELS.items())), TRUTH)
    for score in compare(MODELS, TRUTH).scores:
        assert turned.find(score.model, score.metric) == score


def test_reference_and_variant_matter():
    base = compare(MODELS, TRUTH)
    other = compare(MODELS, TRUTH, reference="exact")
    assert other.find("near", "geo_bleu").difference < 0
    assert base.find("near", "geo_bleu").difference > 0
    later = compare(MODELS, TRUTH, variant="giscup2025")
    assert later.find("near", "dtw_km").mean != base.find("near", "dtw_km").mean


def test_users_without_events_count_in_nothing():
    fewer = TRUTH.select(TRUTH.user_rows() != 1)
    kept = {model: tokens[TRUTH.user_rows() != 1] for model, tokens in MODELS.items()}
    table = compare(kept, fewer)
    assert {score.users for score in table.scores} == {2}
    assert not any(math.isnan(score.mean) for score in table.scores)


def test_a_single_user_has_no_error():
    one = TRUTH.take_users([0])
    table = compare({"medoid": FLAT[:4], "exact": EXACT[:4]}, one)
    assert math.isnan(table.find("exact", "geo_bleu").standard_error)
    assert "±" not in table.to_markdown().split("\n\n")[0]
    assert next(csv.DictReader(io.StringIO(table.to_csv())))["standard_error"] == ""


def test_markdown_shows_differences_and_wins():
    text = compare(MODELS, TRUTH).to_markdown()
    lines = text.splitlines()
    assert lines[0].startswith("| model | GEO-BLEU | against medoid | wins / losses |")
    assert lines[2].startswith("| medoid |")
    assert "| 3 / 0 |" in lines[3]
    assert "Metrics of humob2024, mean ± standard error over 3 users" in text
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_csv_holds_every_figure():
    table = compare(MODELS, TRUTH, variant="giscup2025")
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(rows) == len(table.scores) == 9
    for row, score in zip(rows, table.scores, strict=True):
        assert float(row["mean"]) == score.mean
        assert (row["reference"], row["variant"]) == ("medoid", "giscup2025")


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"a": EXACT}, r"the reference 'medoid' is not among the 1 models \(a\)"),
        ({"medoid": EXACT[:5]}, "model 'medoid' has 5 predictions; expected 12"),
        (
            {"medoid": np.full(12, MASKED)},
            "12 of 12 predictions are no place .* tokens from 0 to 8",
        ),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(predictions, message):
    with pytest.raises(MoraError, match=message):
        compare(predictions, TRUTH)


def test_a_masked_truth_is_refused():
    with pytest.raises(MoraError, match="12 of 12 true places are unknown"):
        compare(MODELS, TRUTH.with_tokens(np.full(12, MASKED, np.int32)))


def test_an_entry_that_is_not_there_is_refused():
    with pytest.raises(MoraError, match="no score of 'lstm' in 'geo_bleu'; expected"):
        compare(MODELS, TRUTH).find("lstm", "geo_bleu")
