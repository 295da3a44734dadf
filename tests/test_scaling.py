import json
import math

import numpy as np
import pytest
from scipy.stats import t

from mora.benchmark.scaling import fit_scaling
from mora.errors import MoraError

SIZE = np.array([100, 100, 1000, 5000, 20000])
SCORE = np.array([0.31, 0.28, 0.44, 0.49, 0.60])


def test_known_answer_on_a_line():
    size = np.array([1.0, math.e, math.e**2])
    fit = fit_scaling(size, np.array([0.1, 0.3, 0.5]))
    assert (fit.intercept, fit.slope) == pytest.approx((0.1, 0.2))
    assert fit.slope_interval == pytest.approx((0.2, 0.2))
    assert fit.residual_error == pytest.approx(0, abs=1e-12)


def test_interval_agrees_with_the_normal_equations():
    fit = fit_scaling(SIZE, SCORE, confidence=0.9)
    x = np.column_stack([np.ones(5), np.log(SIZE)])
    beta = np.linalg.solve(x.T @ x, x.T @ SCORE)
    variance = np.sum((SCORE - x @ beta) ** 2) / 3 * np.linalg.inv(x.T @ x)
    quantile = t.ppf(0.95, 3)
    half = quantile * math.sqrt(variance[1, 1])
    assert fit.slope_interval == pytest.approx((beta[1] - half, beta[1] + half))
    new = np.array([1.0, np.log(400)])
    at, low, high = fit.at(np.array([400]))
    half = quantile * math.sqrt(new @ variance @ new)
    assert (at[0], low[0], high[0]) == pytest.approx(
        (new @ beta, new @ beta - half, new @ beta + half)
    )


def test_the_unit_of_size_does_not_matter():
    thousands = fit_scaling(SIZE / 1000, SCORE)
    fit = fit_scaling(SIZE, SCORE)
    assert thousands.slope == pytest.approx(fit.slope)
    for got, expected in zip(thousands.at(SIZE / 1000), fit.at(SIZE), strict=True):
        np.testing.assert_allclose(got, expected)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        score = 0.1 + 0.05 * np.log(SIZE) + rng.normal(0, 0.02, 5)
        low, high = fit_scaling(SIZE, score, confidence=0.8).slope_interval
        held += low <= 0.05 <= high
    assert held / 400 == pytest.approx(0.8, abs=0.05)


def test_confidence_widens_the_interval():
    widths = [
        np.diff(fit_scaling(SIZE, SCORE, confidence=level).slope_interval)[0]
        for level in (0.5, 0.95)
    ]
    assert widths[0] < widths[1]


def test_flat_scores_have_no_slope():
    fit = fit_scaling(SIZE, np.full(5, 0.4))
    assert fit.slope == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(fit.at(SIZE)[0], 0.4)


def test_the_text_is_per_doubling_and_json_plain():
    fit = fit_scaling(2 ** np.arange(4), np.array([0.0, 0.1, 0.2, 0.3]))
    assert str(fit).startswith("+0.100 for each doubling (95% interval +0.100 to")
    assert json.loads(json.dumps(fit.to_json()))["points"] == 4


@pytest.mark.parametrize(
    ("size", "score", "options", "message"),
    [
        ([1, 2], [0.1, 0.2], {}, "2 scores at 2 sizes; expected at least 3"),
        ([5, 5, 5], [0.1, 0.2, 0.3], {}, "3 scores at 1 sizes"),
        ([0, 2, 3], [0.1, 0.2, 0.3], {}, "1 of 3 scores have no finite value or no"),
        ([1, 2, 3], [0.1, np.nan, 0.3], {}, "1 of 3 scores have no finite value"),
        ([1, 2, 3], [0.1, 0.2, 0.3], {"confidence": 1.0}, "confidence is 1.0"),
    ],
)
def test_scores_without_a_line_are_refused(size, score, options, message):
    with pytest.raises(MoraError, match=message):
        fit_scaling(np.array(size), np.array(score), **options)
