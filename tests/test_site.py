"""The explorer of a run, as a folder and as the service shows it."""

import json

import pytest
from tests.published_run import write_run

from mora.pipeline.site import served_site, write_site


@pytest.fixture
def flows(tmp_path, monkeypatch):
    """Make a run of flows that count no users, and a page."""
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<p>page</p>")
    monkeypatch.setattr("mora.pipeline.site.page_folder", lambda: page)
    write_run(tmp_path / "run", kind="flows", counted=False)
    return tmp_path / "run"


def arcs(folder):
    return json.loads((folder / "data" / "meta.json").read_text())["arcs"]


@pytest.mark.parametrize("published", [True, False])
def test_flows_that_count_no_users_are_drawn_if_published(flows, tmp_path, published):
    write_site(flows, tmp_path / "site", published=published)
    assert (arcs(tmp_path / "site") is not None) == published
    assert (arcs(served_site(flows, published=published)) is not None) == published


def test_flows_of_enough_people_are_drawn(flows, tmp_path):
    write_run(tmp_path / "visits")
    drawn = []
    for least in (1, 7):
        write_site(tmp_path / "visits", tmp_path / "site", flows, min_users=least)
        drawn.append((tmp_path / "site/data/arc_target.u32").stat().st_size)
        assert arcs(tmp_path / "site")["minUsers"] == least
    assert drawn[0] > drawn[1] > 0


@pytest.mark.parametrize("flags", [(), ("--published-flows",)])
def test_the_command_takes_the_declaration(flows, tmp_path, mora, flags):
    status, out, err = mora("explore", flows, "--to", tmp_path / "site", *flags)
    assert (status, err) == (0, "")
    assert "index.html" in out
    assert (arcs(tmp_path / "site") is not None) == bool(flags)
