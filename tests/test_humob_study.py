"""The study of ST-MoE-BERT: what is asked of the sample, and its tables."""

import numpy as np
from benchmarks.humob_study import DECODINGS, PARTS, _write_table, divide_sample

from mora.config import load_section
from mora.pipeline.humob_config import HumobConfig
from mora.tokens import GridTokens
from mora.trajectories.events import build_events


def test_the_sample_is_divided_after_seventy_events():
    tokens = GridTokens.from_xy(np.array([[1, 1]]), 200, 200)
    user, slot = np.repeat(np.arange(702), 72), np.tile(np.arange(72), 702)
    events = build_events(user, slot // 48, slot % 48, np.zeros(len(user), int), tokens)
    city = divide_sample(events)
    assert city.wanted.users.tolist() == [700, 701]
    assert city.wanted.masked().all()
    np.testing.assert_array_equal(city.wanted.time(), [70, 71, 70, 71])
    assert len(city.history) == len(events) - 4
    assert not city.truth.masked().any()


def test_every_variant_can_be_configured():
    city = {"A": {"generated": {"users": 9}}}
    for changes in PARTS.values():
        load_section({"name": "x", "cities": city, **changes}, HumobConfig).bert()


def test_tables_are_paired(tmp_path):
    rng = np.random.default_rng(0)
    metrics = ("geo_bleu", "dtw_km", "accuracy")
    medoid = {metric: rng.random(30) for metric in metrics}
    better = {metric: medoid[metric] + 0.25 for metric in metrics}
    scores = {"medoid": medoid}
    scores |= {f"all parts, {decoding}": medoid for decoding in DECODINGS}
    scores |= {f"no gaps, {decoding}": better for decoding in DECODINGS}
    _write_table(scores, tmp_path / "parts.md")
    text = (tmp_path / "parts.md").read_text()
    assert "(+0.2500 ± 0.0000) |" in text
    assert "| no gaps | +0.2500 ± 0.0000 | +0.2500 ± 0.0000 |" in text
    assert "over 30 users" in text
