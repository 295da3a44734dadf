"""Every source has a page, and page, index and registry agree."""

import importlib.util
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from mora.config import TableInput
from mora.sources import geo_labels, list_sources, plan_of, viirs
from mora.sources.registry import check_source

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "sources"
OTHERS = {"README.md", "rasters.md"}
READERS = (geo_labels, viirs)  # imported, so that they are in the registry
SOURCES = {source["name"]: source for source in list_sources()}
SECTIONS = ["Get it", "Use it", "Traps", "Reference"]


def load_script():
    spec = importlib.util.spec_from_file_location("index", FOLDER / "make_index.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_index = load_script()


def page_of(name):
    return (FOLDER / f"{name}.md").read_text()


def block_below(text, section):
    """Give the first fenced block of a section."""
    found = re.search(rf"## {section}\n\n```\w*\n(.*?)\n```", text, re.DOTALL)
    return found[1]


def tables_in(settings):
    """List every table that nested settings take from a source."""
    if isinstance(settings, dict):
        own = [settings] if "source" in settings else []
        return own + [t for part in settings.values() for t in tables_in(part)]
    if isinstance(settings, list):
        return [table for part in settings for table in tables_in(part)]
    return []


def test_every_source_has_a_page_and_every_page_a_source():
    pages = {path.name for path in FOLDER.glob("*.md")} - OTHERS
    assert pages == {f"{name}.md" for name in SOURCES}


def test_the_index_is_what_the_script_writes():
    again = "Run: python docs/sources/make_index.py"
    assert (FOLDER / "README.md").read_text() == make_index.make_index(), again


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_has_its_facts_and_sections(name):
    text = page_of(name)
    assert text.startswith(f"# {name}\n")
    again = "Run: python docs/sources/make_index.py"
    assert make_index.with_facts(text, SOURCES[name]) == text, again
    assert "Checked against the publisher's documentation: " in text
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == SECTIONS
    for link in re.findall(r"\]\(([^)]+\.md)\)", text):
        assert (FOLDER / link).resolve().is_file()


def test_facts_that_changed_are_written_anew():
    text = page_of("gowalla")
    changed = make_index.with_facts(text, SOURCES["gowalla"] | {"size": "small"})
    assert "| size | small |\n" in changed
    assert make_index.with_facts(changed, SOURCES["gowalla"]) == text


@pytest.mark.parametrize("name", SOURCES)
def test_the_yaml_of_a_page_is_one_that_a_run_takes(name):
    settings = yaml.safe_load(block_below(page_of(name), "Use it"))
    tables = tables_in(settings)
    for given in tables:
        assert given["source"] == name
        table = TableInput.model_validate(given)
        check_source(table.source, table.files, table.options)
    assert tables or f'write_source("{name}"' in page_of(name)


@pytest.mark.parametrize("name", SOURCES)
def test_the_command_of_a_page_is_one_that_can_be_given(name):
    command = block_below(page_of(name), "Get it")
    assert len(command.splitlines()) == 1
    words = shlex.split(command, comments=True)
    if words[:2] == ["mora", "fetch"] and not words[2].endswith(".yaml"):
        pairs = [w for before, w in pairwise(words) if before == "--with"]
        assert plan_of(words[2], **dict(pair.split("=") for pair in pairs))
