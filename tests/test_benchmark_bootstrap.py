import numpy as np
import pytest

from mora.benchmark.bootstrap import bootstrap_difference, bootstrap_r2
from mora.benchmark.scores import r_squared
from mora.errors import MoraError

RNG = np.random.default_rng(0)
N = 400
BLOCKS = np.arange(N) // 10 * 3 - 7
TRUTH = RNG.normal(size=N) + 50
GUESS = TRUTH + 0.5 * RNG.normal(size=N)
WORSE = TRUTH + 0.8 * RNG.normal(size=N)


def test_two_blocks_by_hand():
    # Blocks 0: labels -1, 1 exact; 1: labels -1, 1 predicted 0. A draw of one block
    # twice has R2 1 or 0, of both 1 - 2 / 4.
    truth, blocks = np.array([-1.0, 1, -1, 1]), np.array([0, 0, 1, 1])
    got = bootstrap_r2(truth, np.array([-1.0, 1, 0, 0]), blocks, level=0.9)
    assert (got.value, got.low, got.high) == pytest.approx((0.5, 0, 1))
    assert (got.level, got.blocks) == (0.9, 2)


def test_drawing_rows_gives_the_same():
    """The oracle puts the rows of the drawn blocks together and scores them."""
    rng, drawn = np.random.default_rng(3), []
    rows = [np.flatnonzero(block == BLOCKS) for block in np.unique(BLOCKS)]
    for _ in range(200):
        taken = np.concatenate([rows[i] for i in rng.integers(40, size=40)])
        drawn.append(r_squared(TRUTH[taken], GUESS[taken]))
    got = bootstrap_r2(TRUTH, GUESS, BLOCKS, draws=200, seed=3)
    assert got.value == pytest.approx(r_squared(TRUTH, GUESS))
    np.testing.assert_allclose(
        [got.low, got.high], np.quantile(drawn, [0.025, 0.975]), rtol=1e-9
    )


def test_the_interval_covers_the_true_value():
    """R2 of predictions that explain half is 0.5 in the long run."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        guess = rng.normal(size=300)
        truth = guess + rng.normal(size=300)
        got = bootstrap_r2(truth, guess, np.arange(300) // 5, level=0.9, draws=200)
        covered += got.low <= 0.5 <= got.high
    assert 80 <= covered <= 98


def test_rows_alike_within_blocks_widen_the_interval():
    rng = np.random.default_rng(1)
    block = np.arange(N) // 20
    truth = rng.normal(size=20)[block] + 0.1 * rng.normal(size=N)
    guess = truth + rng.normal(size=20)[block]
    whole, single = (
        bootstrap_r2(truth, guess, blocks) for blocks in (block, np.arange(N))
    )
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_shift_and_scale_do_not_matter():
    first = bootstrap_r2(TRUTH, GUESS, BLOCKS)
    second = bootstrap_r2(TRUTH * 30 + 1e6, GUESS * 30 + 1e6, BLOCKS + 5)
    assert second.low == pytest.approx(first.low)


def test_exact_predictions_are_certain():
    got = bootstrap_r2(TRUTH, TRUTH, BLOCKS)
    assert (got.value, got.low, got.high) == (1, 1, 1)


@pytest.mark.parametrize("change", [{"level": 0.5}, {"draws": 50}, {"seed": 1}])
def test_each_setting_matters(change):
    for call in (
        lambda **options: bootstrap_r2(TRUTH, GUESS, BLOCKS, **options),
        lambda **options: bootstrap_difference(TRUTH, GUESS, WORSE, BLOCKS, **options),
    ):
        first, second = call(), call(**change)
        assert first.value == second.value
        assert first.low != second.low


def test_differences_are_paired():
    got = bootstrap_difference(TRUTH, GUESS, WORSE, BLOCKS)
    back = bootstrap_difference(TRUTH, WORSE, GUESS, BLOCKS)
    expected = r_squared(TRUTH, GUESS) - r_squared(TRUTH, WORSE)
    assert got.value == pytest.approx(expected)
    assert got.low > 0
    assert (back.low, back.high) == pytest.approx((-got.high, -got.low))
    same = bootstrap_difference(TRUTH, GUESS, GUESS, BLOCKS)
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": BLOCKS * 0}, "1 blocks, level 0.95 and 1000 draws"),
        ({"level": 1.0}, "40 blocks, level 1 and"),
        ({"draws": 0}, "level 0.95 and 0 draws; expected at least 2 blocks"),
    ],
)
def test_impossible_intervals_are_refused(options, message):
    with pytest.raises(MoraError, match=message):
        bootstrap_r2(TRUTH, GUESS, **{"blocks": BLOCKS, **options})
