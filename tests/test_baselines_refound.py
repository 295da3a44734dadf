import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from mora.baselines import BASELINES, BaselineInput, MissingInputError
from mora.baselines.refound import (
    REFERENCE_PARAMETERS,
    REFERENCE_WIDTHS,
    refound,
    refound_parameters,
)
from mora.baselines.refound_network import (
    RefoundStyle,
    masked_mean,
    similarity_gap,
)
from mora.errors import MoraError

GROUPS, EACH = 4, 12
GROUP = np.repeat(np.arange(GROUPS), EACH)
SHORT = {"dim": 8, "heads": 2, "layers": 1, "epochs": 2, "batch": 32}


def planted(seed=0, noise=0.5):
    """POIs tell groups 0 and 1 from 2 and 3; images tell 0 and 2 from 1 and 3."""
    rng = np.random.default_rng(seed)
    poi = rng.normal(size=(2, 10))[GROUP // 2]
    image = rng.normal(size=(2, 7))[GROUP % 2]
    return {
        "poi": poi + noise * rng.normal(size=poi.shape),
        "image": image + noise * rng.normal(size=image.shape),
    }


def embed(features, seed=0, **changes):
    return refound(BaselineInput(features=features, seed=seed), **{**SHORT, **changes})


def probe(vectors):
    reader = LogisticRegression(max_iter=500)
    return cross_val_score(reader, vectors, GROUP, cv=4).mean()


def test_groups_that_only_all_features_tell_apart_are_recovered():
    got = embed(planted(), dim=16, epochs=15)
    assert got.shape == (len(GROUP), 16)
    assert got.dtype == np.float32
    assert probe(got) > 0.9


def test_gaps_do_not_hide_the_groups():
    features = planted(noise=0.1)
    features["image"][::6] = np.nan
    features["poi"][2, 3] = np.nan
    got = embed(features, dim=16, epochs=15)
    assert np.isfinite(got).all()
    seen = ~np.isnan(features["image"]).any(axis=1)
    reader = LogisticRegression(max_iter=500).fit(got[seen], GROUP[seen])
    assert reader.score(got[seen], GROUP[seen]) == 1
    rest = reader.predict(got[~seen])  # POIs alone tell half of it
    np.testing.assert_array_equal(rest // 2, GROUP[~seen] // 2)


def test_tokens_without_any_feature_share_one_row():
    features = planted()
    for block in features.values():
        block[[3, 40]] = np.nan
    got = embed(features)
    np.testing.assert_allclose(got[3], got[40], atol=1e-6)
    assert not np.allclose(got[3], got[4])


def test_a_seed_gives_the_same_rows_and_leaves_other_random_numbers_alone():
    state = torch.random.get_rng_state()
    one, again = (embed(planted()) for _ in "ab")
    np.testing.assert_array_equal(one, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.allclose(embed(planted(), seed=1), one)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 2},
        {"heads": 4},
        {"epochs": 3},
        {"batch": 16},
        {"learning_rate": 0.01},
    ],
)
def test_every_option_changes_the_result(change):
    assert not np.allclose(embed(planted(), **change), embed(planted()))


def test_width_is_as_asked_for():
    assert embed(planted(), dim=6).shape == (len(GROUP), 6)


def test_units_do_not_matter():
    features = planted()
    scaled = {name: block * 1024 for name, block in features.items()}
    np.testing.assert_allclose(embed(scaled), embed(features), atol=1e-5)


@pytest.mark.parametrize("columns", [1, 5])
def test_one_modality_is_enough(columns):
    got = embed({"poi": planted()["poi"][:, :columns]})
    assert got.shape == (len(GROUP), 8)
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 9}, "dim is 9 with 2 heads; expected a positive multiple"),
        ({"heads": 0}, "dim is 8 with 0 heads"),
        ({"layers": 0}, "layers is 0; expected at least 1"),
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"batch": 1}, "batch is 1; expected at least 2"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(MoraError, match=message):
        embed(planted(), **options)


def test_features_are_needed():
    with pytest.raises(MissingInputError, match="no features"):
        BASELINES["refound"](BaselineInput())


def test_parameters_are_counted():
    # Pieces of 2 and 1 columns; one modality, and the region, have an expert each.
    columns, pieces, modalities, d, layers = 3, 2, 1, 8, 1
    ends = (columns * d + pieces * d) + (d * columns + columns)
    learned = d + d + pieces * d + modalities * (d * d + d) + 2 * d
    experts = (modalities + 1) * (2 * d * d + 2 * d + 2 * d * d + d)
    layer = 2 * 2 * d + (4 * d * d + 4 * d) + experts
    got = refound_parameters({"a": 3}, dim=8, layers=1, heads=2)
    assert got == ends + learned + layers * layer == 1067
    deeper = refound_parameters({"a": 3}, dim=8, layers=3, heads=4)
    assert deeper == got + 2 * layer


def test_the_row_names_the_parameters_of_the_reference_features():
    assert refound_parameters(REFERENCE_WIDTHS) == REFERENCE_PARAMETERS
    says = str(BASELINES["refound"].reproduction)
    assert says.startswith("not reproduced: ReFound's own data are not public")
    assert f"{REFERENCE_PARAMETERS:,} parameters" in says


def test_parameters_of_impossible_sizes_are_refused():
    with pytest.raises(MoraError, match="dim is 9 with 4 heads"):
        refound_parameters({"a": 3}, dim=9)


def test_similarity_gap_is_none_for_like_angles_and_grows_with_their_difference():
    torch.manual_seed(0)
    teacher = torch.randn(6, 4)
    turned = teacher @ torch.linalg.qr(torch.randn(4, 4))[0]
    assert similarity_gap(3 * turned, teacher).item() == pytest.approx(0, abs=1e-4)
    assert similarity_gap(torch.randn(6, 4), teacher).item() > 0.1


def test_similarity_gap_by_hand():
    # Each row of the teacher is alike to one other (cosine 1) and to the rest 0; the
    # student finds all others alike: log 3 less the teacher's entropy.
    teacher = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    given = F.log_softmax(torch.tensor([10.0, 0, 0]), dim=0)
    expected = np.log(3) + (given.exp() * given).sum().item()
    got = similarity_gap(torch.ones(4, 5), teacher).item()
    assert got == pytest.approx(expected, rel=1e-4)


def test_similarity_of_two_rows_says_nothing():
    assert similarity_gap(torch.ones(2, 3), torch.eye(2)).item() == 0


def test_masked_mean_by_hand():
    values = torch.tensor([[1.0, 2.0], [3.0, 50.0]])
    chosen = torch.tensor([[True, False], [True, False]])
    assert masked_mean(values, chosen).item() == 2
    assert masked_mean(values, torch.zeros_like(chosen)).item() == 0


def test_masked_and_unknown_pieces_are_not_seen():
    torch.manual_seed(0)
    model = RefoundStyle([[3, 2], [4]], dim=8, layers=2, heads=2)
    pieces = [torch.randn(5, width) for width in (3, 2, 4)]
    changed = [pieces[0], pieces[1] + 1, pieces[2]]
    second = torch.tensor([False, True, False]).expand(5, 3)
    known = torch.ones(5, 3, dtype=torch.bool)
    with torch.no_grad():
        for look, mask in ((known, second), (known & ~second, None)):
            one, other = (model(p, look, mask)[:, 0] for p in (pieces, changed))
            torch.testing.assert_close(one, other)
        assert not torch.allclose(model(pieces, known), model(changed, known))
