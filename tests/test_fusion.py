"""The fused export: sections, their widths and scales, and what fills gaps."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from mora.config import ExportConfig
from mora.errors import ConfigError
from mora.fusion import content_basis, fuse, movement_view, neighbour_means
from mora.fusion.content import first_columns
from mora.fusion.filling import fill
from mora.fusion.fused import MOVEMENT_VARIANCE, OTHER_VARIANCE, divide
from mora.fusion.movement import FACTORS, SCALES, SquaredFlows
from mora.fusion.section import Section, leading
from mora.graph.storage import MobilityGraph
from mora.modalities import Features

PLACES = 60


def flows(seed=0, places=PLACES):
    rng = np.random.default_rng(seed)
    moved = rng.poisson(3.0, (places, places)) * (rng.random((places, places)) < 0.3)
    return moved.astype(float)


def graph(seed=0):
    return MobilityGraph.from_matrix(sp.csr_array(flows(seed)))


def features(columns=3, seed=0, missing=(), scale=1.0):
    rng = np.random.default_rng(seed)
    present = np.ones(PLACES, bool)
    present[list(missing)] = False
    values = scale * rng.normal(size=(PLACES, columns)) + 5
    return Features.from_values(values, present, [str(i) for i in range(columns)])


def fused(modalities=None, moves=None, config=None, dim=32, seed=0):
    moves = moves or graph()
    given_ = modalities if modalities is not None else {"people": features()}
    aligned = np.random.default_rng(1).normal(size=(len(moves), 40))
    return fuse(moves, aligned, given_, config or ExportConfig(), dim=dim, seed=seed)


# ---------------------------------------------------------------- content


def test_narrow_content_keeps_its_columns():
    section = content_basis(features(columns=16))
    scaled = features(columns=16).standardised().values
    ratio = section.values / scaled
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert section.values.var(axis=0).sum() == pytest.approx(1)


def test_wide_content_becomes_components_by_falling_variance():
    section = content_basis(features(columns=50))
    variance = section.values.var(axis=0)
    assert section.width == 48
    assert (np.diff(variance) <= 1e-12).all()
    np.testing.assert_allclose(np.corrcoef(section.values.T), np.eye(48), atol=1e-6)


def test_content_does_not_depend_on_units():
    one, other = content_basis(features()), content_basis(features(scale=1.0))
    np.testing.assert_array_equal(one.values, other.values)
    bent = features()
    shifted = Features.from_values(bent.values * 7 + 3, bent.present, bent.columns)
    np.testing.assert_allclose(content_basis(shifted).values, one.values, atol=1e-4)


def test_one_odd_place_stays_within_four_deviations():
    values = np.r_[np.zeros(PLACES - 1), 1e6][:, None]
    values[: PLACES // 2] += 1
    known = Features.from_values(values, np.ones(PLACES, bool), ["x"])
    clipped = np.clip(known.standardised().values, -4, 4)
    assert np.abs(known.standardised().values).max() > 4
    np.testing.assert_allclose(
        content_basis(known).values, clipped / clipped.std(), rtol=1e-4
    )


def test_places_without_a_modality_have_zeros():
    section = content_basis(features(columns=20, missing=[3, 4]))
    assert not section.values[[3, 4]].any()
    assert not section.present[3]
    assert section.values[~np.isin(np.arange(PLACES), [3, 4])].all(axis=1).any()


def test_constant_columns_are_left_out():
    same = Features.from_values(np.ones((5, 2)), np.ones(5, bool), ["a", "b"])
    assert content_basis(same).values.shape == (5, 0)


@pytest.mark.parametrize(("columns", "rotated"), [(3, True), (20, False)])
def test_fewer_columns_are_the_leading_ones(columns, rotated):
    section = content_basis(features(columns=columns))
    narrowed = first_columns(section, 2)
    if rotated:
        kept = narrowed.values.var(axis=0).sum()
        best = np.linalg.eigvalsh(np.cov(section.values.T, bias=True))[-2:].sum()
        assert kept == pytest.approx(best)
    else:
        np.testing.assert_array_equal(narrowed.values, section.values[:, :2])


def test_leading_directions_by_hand():
    values = np.array([[3.0, 0, 1], [-3.0, 0, 1], [0, 1, 1], [0, -1, 1]])
    np.testing.assert_allclose(leading(values, 1)[:, 0], [3, -3, 0, 0], atol=1e-12)
    assert leading(values, 3) is values


# ---------------------------------------------------------------- context


def test_neighbours_mean_by_hand():
    # 0 moves 2 with 1 and 6 with 2: the mean over people is (2 * 10 + 6 * 30) / 8.
    moved = sp.csr_array(np.array([[9.0, 2, 6], [0, 0, 0], [0, 0, 0]]))
    towns = MobilityGraph.from_matrix(moved)
    section = Section(np.array([[5.0], [10.0], [30.0]]), np.ones(3, bool))
    people = neighbour_means(towns, section)
    np.testing.assert_allclose(people.values[:, 0], [25, 5, 5])
    places = neighbour_means(towns, section, 0)
    assert places.values[0, 0] == pytest.approx(20)


def test_neighbours_mean_equals_a_dense_product():
    moves = graph()
    section = Section(
        np.random.default_rng(2).normal(size=(PLACES, 70)), ~np.eye(60, dtype=bool)[5]
    )
    weights = np.sqrt(moves.symmetric().toarray())
    known = weights * section.present
    wanted = known @ section.values / known.sum(axis=1, keepdims=True)
    got = neighbour_means(moves, section, 0.5)
    np.testing.assert_allclose(got.values, wanted, atol=1e-5)


def test_lonely_places_have_no_neighbours_mean():
    moved = flows()
    moved[7], moved[:, 7] = 0, 0
    lonely = MobilityGraph.from_matrix(sp.csr_array(moved))
    found = neighbour_means(lonely, content_basis(features()))
    assert not found.present[7]
    assert not found.values[7].any()
    assert found.present.sum() == PLACES - 1


# --------------------------------------------------------------- movement


def squared(moves, scales):
    """Sum the squared flow matrices, each of unit size, densely."""
    whole = moves.symmetric().toarray() + np.diag(moves.within)
    scaled = [SCALES[name](whole) for name in scales]
    return np.sum([one @ one / (one**2).sum() for one in scaled], axis=0)


@pytest.mark.parametrize("scales", FACTORS)
def test_squared_flows_equal_the_dense_sum(scales):
    moves = graph()
    x = np.random.default_rng(0).normal(size=(PLACES, 4)).astype(np.float32)
    told = []
    got = SquaredFlows(moves, scales).multiply(
        x, lambda done, total: told.append((done, total))
    )
    wanted = squared(moves, scales) @ x
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    passes = 2 * len(scales)
    assert told[-1] == (passes * moves.edges, passes * moves.edges)


def test_movement_has_the_leading_factors_of_both_sets():
    moves = graph()
    told = []
    view = movement_view(moves, 3 + 7, progress=lambda *now: told.append(now))
    first = 3
    for scales, count in zip(FACTORS, (4, 3), strict=True):
        columns = view.values[:, first : first + count]
        first += count
        values, axes = np.linalg.eigh(squared(moves, scales))
        wanted = (axes * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :count]
        for got, one in zip(columns.T, wanted.T, strict=True):
            assert abs(np.corrcoef(got, one)[0, 1]) > 0.95  # but for what is clipped
    done, total = told[-1]
    assert done == total


def test_movement_begins_with_the_volumes():
    moves = graph()
    view = movement_view(moves, 10)
    logs = np.log1p([moves.outflow, moves.inflow, moves.within])
    for column in range(3):
        correlation = np.corrcoef(view.values[:, column], logs[column])[0, 1]
        assert correlation == pytest.approx(1, abs=1e-2)  # but for what is clipped
    assert view.width == 10
    np.testing.assert_allclose(view.values[:, :3].var(axis=0).sum(), 1)
    np.testing.assert_allclose(view.values[:, 3:7].var(axis=0).sum(), 1)
    np.testing.assert_allclose(view.values[:, 7:].var(axis=0).sum(), 1)


def test_movement_knows_how_much_and_where_to():
    view = movement_view(graph(), 10).values
    more = MobilityGraph.from_matrix(sp.csr_array(flows() * np.arange(1, PLACES + 1)))
    assert not np.allclose(view, movement_view(more, 10).values)
    turned = flows()
    turned[3] *= 4  # more leave place 3; none more come
    one_way = movement_view(MobilityGraph.from_matrix(sp.csr_array(turned)), 10)
    back = movement_view(MobilityGraph.from_matrix(sp.csr_array(turned.T)), 10)
    np.testing.assert_allclose(one_way.values[:, 0], back.values[:, 1])
    assert one_way.values[3, 0] > back.values[3, 0]


def test_movement_of_one_column_is_the_outflow():
    assert movement_view(graph(), 1).width == 1


def test_volumes_that_say_nothing_new_leave_their_columns_to_factors():
    moved = flows() + flows().T
    np.fill_diagonal(moved, 0)  # as of co-visits: no direction, nothing within
    view = movement_view(MobilityGraph.from_matrix(sp.csr_array(moved)), 6)
    assert view.width == 6
    assert (view.values.std(axis=0) > 0).all()
    np.testing.assert_allclose(view.values[:, :1].var(), 1)


def test_a_modality_that_does_not_vary_takes_no_column():
    same = Features.from_values(np.ones((PLACES, 2)), np.ones(PLACES, bool), ["a", "b"])
    found = fused({"same": same, "people": features()})
    assert not any("same" in name for name in found.sections)
    assert found.vectors.shape == (PLACES, 32)


def test_movement_of_few_places_has_few_columns():
    few = MobilityGraph.from_matrix(sp.csr_array(np.ones((4, 4))))
    view = movement_view(few, 50)
    assert 3 < view.width <= 3 + 2 * 4
    assert np.isfinite(view.values).all()


def test_the_seed_of_the_sketch_hardly_matters():
    one, other = (movement_view(graph(), 8, seed=s).values for s in (0, 1))
    for first, second in zip(one.T, other.T, strict=True):
        assert np.corrcoef(first, second)[0, 1] > 0.99


# ---------------------------------------------------------------- filling


def test_gaps_are_predicted_from_what_is_known():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = x @ np.array([[1.0, 2], [0, 1]])
    present = rng.random(300) < 0.6
    section = Section(np.where(present[:, None], y, 0), present)
    filled = fill(section, {"x": Section(x, np.ones(300, bool))})
    np.testing.assert_array_equal(filled[present], y[present])
    np.testing.assert_allclose(filled[~present], y[~present], atol=0.1)


def test_nothing_is_predicted_from_few_places_or_from_nothing():
    section = Section(np.ones((40, 1)), np.arange(40) < 20)
    known = {"x": Section(np.ones((40, 1)), np.ones(40, bool))}
    assert fill(section, known) is section.values
    many = Section(np.ones((80, 1)), np.arange(80) < 50)
    assert fill(many, {}) is many.values


def test_very_many_places_are_sampled(monkeypatch):
    monkeypatch.setattr("mora.fusion.filling.MOST", 40)
    rng = np.random.default_rng(0)
    x = Section(rng.normal(size=(200, 3)), np.ones(200, bool))
    noisy = Section(x.values[:, :1] + rng.normal(size=(200, 1)), np.arange(200) < 150)
    one, again, other = (fill(noisy, {"x": x}, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


# ------------------------------------------------------------------ fused


def test_a_fused_vector_is_as_wide_as_asked_and_says_what_is_where():
    found = fused({"people": features(5), "image": features(40, seed=3)})
    assert found.vectors.shape == (PLACES, 32)
    ends = [span for spans in found.sections.values() for span in spans]
    assert ends[0] == 0
    assert ends[-1] == 32
    assert ends[1:-1:2] == ends[2::2]
    assert list(found.sections)[:2] == ["own people", "own image"]
    assert list(found.sections)[-2:] == ["movement", "aligned"]
    assert not found.filled


def test_sections_have_the_stated_scale():
    found = fused()
    variance = {
        name: found.vectors[:, first:last].var(axis=0).sum()
        for name, (first, last) in found.sections.items()
    }
    assert variance.pop("movement") == pytest.approx(MOVEMENT_VARIANCE, rel=1e-4)
    for value in variance.values():
        assert value == pytest.approx(OTHER_VARIANCE / len(variance), rel=1e-4)


def test_contrast_is_what_a_place_has_more_than_its_neighbours():
    found = fused(config=ExportConfig(own=0.1, contrast=0.1, around=0.1, movement=0.1))
    content = content_basis(features())
    difference = content.values - neighbour_means(graph(), content).values
    first, last = found.sections["contrast people"]
    assert last - first == 3
    ratio = found.vectors[:, first:last] / difference
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)


@pytest.mark.parametrize("share", ["own", "contrast", "around", "movement"])
def test_each_share_changes_the_widths(share):
    many = {"image": features(30)}
    without = fused(many, config=ExportConfig(**{share: 0.0})).sections
    name = "movement" if share == "movement" else f"{share} image"
    assert name not in without
    assert name in fused(many).sections


def test_shares_above_one_are_refused():
    with pytest.raises(ValueError, match=r"add up to 1\.\d+; expected 1 at most"):
        ExportConfig(own=0.5, contrast=0.5, around=0.1, movement=0.1)


def test_a_run_without_modalities_has_movement_and_what_was_aligned():
    found = fused({})
    assert list(found.sections) == ["movement", "aligned"]
    assert found.vectors.shape == (PLACES, 32)


def test_missing_modalities_are_predicted_and_counted():
    gaps = {"people": features(missing=range(10))}
    found = fused(gaps)
    assert found.filled == {"own people": 10}
    first, last = found.sections["own people"]
    assert found.vectors[:10, first:last].any(axis=1).all()
    assert np.isfinite(found.vectors).all()


def test_places_without_flows_are_predicted_from_their_content():
    moved = flows()
    moved[:4], moved[:, :4] = 0, 0
    lonely = MobilityGraph.from_matrix(sp.csr_array(moved))
    found = fused(moves=lonely)
    assert found.filled == {"movement": 4, "aligned": 4}
    for first, last in found.sections.values():
        assert found.vectors[:4, first:last].any()


def test_the_order_of_places_does_not_matter():
    order = np.random.default_rng(0).permutation(PLACES)
    turned = MobilityGraph.from_matrix(sp.csr_array(flows()[np.ix_(order, order)]))
    aligned = np.random.default_rng(1).normal(size=(PLACES, 40))
    people = features()
    moved = Features.from_values(people.values[order], people.present, people.columns)
    one = fuse(graph(), aligned, {"people": people}, ExportConfig(), dim=24).vectors
    other = fuse(turned, aligned[order], {"people": moved}, ExportConfig(), dim=24)
    close = np.isclose(other.vectors, one[order], atol=0.05).all(axis=0)
    assert close.sum() >= 20  # factors of near-equal size may turn with the sketch


@given(st.integers(0, 60), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_columns_are_divided_evenly(total, widest):
    widths = {str(i): width for i, width in enumerate(widest)}
    shares = divide(total, widths)
    assert sum(shares.values()) == min(total, sum(widest))
    assert all(shares[name] <= widths[name] for name in widths)
    full = max(shares.values())
    for name, share in shares.items():
        assert share >= full - 1 or share == widths[name]


def test_the_experiment_needs_modalities():
    from mora.config import load_config
    from mora.experiments import make_experiment

    config = load_config({"name": "x", "mobility": {"kind": "flows", "table": {}}})
    with pytest.raises(ConfigError, match="modalities: none"):
        make_experiment("fused", config, Path())
