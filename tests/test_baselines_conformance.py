"""What every registered baseline promises, checked on one small city."""

from dataclasses import replace
from functools import cache
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.small_run import planted_city
from tests.test_baselines_pretrained import (
    csp_checkpoint,
    csp_model,
    geoclip_state,
    satclip_checkpoint,
    save,
)

from mora.baselines import (
    BASELINES,
    BaselineInput,
    MissingInputError,
    Volume,
    embed_baselines,
)
from mora.baselines.registry import TUNING_BUDGET
from mora.errors import MissingExtraError
from mora.graph.neighbours import build_neighbour_graph

WANTED = {
    *("lonlat", "harmonics", "space2vec", "sphere2vec", "nerf", "siren"),
    *("geoclip", "satclip", "csp", "alphaearth", "pdfm", "vectors"),
    *("line", "volume", "line+volume", "flow_svd", "random_walk"),
    *("hrep", "recp", "refound", "raw"),
}
# Trained ones learn for a moment only: what they learn is tested beside each of them.
SHORT = {
    "hrep": {"epochs": 2},
    "recp": {"steps": 3},
    "refound": {"epochs": 1},
    "random_walk": {"walks": 2, "walk_length": 5},
    "siren": {"degree": 4},
}
NOT_HERE = {
    "alphaearth": "needs GeoTIFFs of the city; see test_baselines_vectors",
    "pdfm": "needs zones with codes; see test_baselines_vectors",
}


@cache
def city() -> BaselineInput:
    """Give the planted city with everything that a run can have."""
    planted = planted_city()
    rng = np.random.default_rng(0)
    cells = len(planted.tokens)
    same = planted.community[:, None] == planted.community
    flows = rng.poisson(np.where(same, 4.0, 0.4)).astype(float)
    return BaselineInput(
        lonlat=planted.tokens.centroids(),
        line=rng.normal(size=(cells, 8)).astype(np.float32),
        volume=Volume(flows.sum(1), flows.sum(0), flows.diagonal()),
        features={
            "poi": rng.poisson(3, (cells, 6)).astype(float),
            "demographics": rng.random((cells, 4)),
        },
        flows=sp.csr_array(flows),
        neighbours=build_neighbour_graph(planted.tokens).symmetric(),
        tokens=planted.tokens,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a file of the published form for each baseline that reads one."""
    folder = tmp_path_factory.mktemp("files")
    table = folder / "vectors.csv"
    columns = {f"v{i}": np.random.default_rng(i).random(91) for i in range(3)}
    names = {"cell": city().tokens.names()}
    pd.DataFrame({**names, **columns}).to_csv(table, index=False)
    model = csp_model()
    return {
        "geoclip": {"path": str(save(folder, geoclip_state(), "geoclip.pth"))},
        "satclip": {"path": str(save(folder, satclip_checkpoint(), "satclip.ckpt"))},
        "csp": {"path": str(save(folder, csp_checkpoint(*model), "csp.pth"))},
        "vectors": {"path": str(table)},
    }


def embed(name, files, given=None):
    options = {**SHORT.get(name, {}), **files.get(name, {})}
    try:
        return BASELINES[name](given or city(), **options)
    except MissingExtraError as missing:
        pytest.skip(str(missing))


def here(name):
    reason = NOT_HERE.get(name, "")
    return pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=reason))


def test_the_wanted_baselines_are_registered():
    assert set(BASELINES) >= WANTED


@pytest.mark.parametrize("name", [here(name) for name in BASELINES])
def test_it_gives_a_float32_row_a_token_and_the_same_again(name, files):
    first, second = embed(name, files), embed(name, files)
    assert first.dtype == np.float32
    assert first.shape[0] == len(city().tokens)
    assert first.shape[1] >= 1
    assert not np.isinf(first).any()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", [here(name) for name in BASELINES])
def test_it_tells_tokens_apart(name, files):
    vectors = embed(name, files)
    assert len(np.unique(vectors, axis=0)) > len(vectors) / 2


@pytest.mark.parametrize("name", BASELINES)
def test_without_an_input_it_is_left_out_with_the_reason(name):
    for need in BASELINES[name].needs:
        empty = {} if need == "features" else None
        with pytest.raises(
            (MissingInputError, MissingExtraError), match=r"has no|needs"
        ):
            BASELINES[name](replace(city(), **{need: empty}))


@pytest.mark.parametrize("name", BASELINES)
def test_it_reads_only_what_it_says_it_needs(name, files):
    entry = BASELINES[name]
    if name in NOT_HERE or entry.group == "trained":
        pytest.skip("reads files of its own, or is tested with its training")
    bare = BaselineInput(
        **{need: getattr(city(), need) for need in entry.needs}, seed=city().seed
    )
    np.testing.assert_array_equal(embed(name, files, bare), embed(name, files))


@pytest.mark.parametrize("name", BASELINES)
def test_its_entry_is_complete(name):
    entry = BASELINES[name]
    assert entry.source
    assert entry.description.endswith((".", ":"))
    assert str(entry.reproduction)
    assert len(entry.settings) in (1, TUNING_BUDGET)
    known = signature(entry.embed).parameters
    assert all(set(setting) <= set(known) for setting in entry.settings)
    assert ("path" in known) == entry.needs_file


@pytest.mark.parametrize(
    "name", [name for name, entry in BASELINES.items() if entry.needs_file]
)
def test_without_its_file_it_is_left_out(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    vectors, left_out = embed_baselines([name], city())
    assert vectors == {}
    assert "no " in left_out[name]
