"""Write the facts of the registry into the pages of the sources, and their index.

``python docs/sources/make_index.py``, after a source or its facts have changed.
"""

from pathlib import Path

from mora.sources import geo_labels, list_sources, viirs

FOLDER = Path(__file__).parent
REGISTERED = (geo_labels, viirs)  # imported, so that they are in the registry
FACTS = ("gives", "licence", "size", "home")
MARK = "<!-- facts: make_index.py writes them from the registry -->"
HEAD = """# Open data that Mora reads

A page each, with traps and one command to get it. `mora sources` prints the same
facts. Licences and sizes are the publishers' words as far as we found them; every page
says what was checked. Rasters that are read as they are (AlphaEarth, Sentinel-2, NAIP,
map tiles) are on [a page of their own](rasters.md). Written by `make_index.py`.

| source | gives | licence | size |
|---|---|---|---|
"""


def make_index() -> str:
    """Give the text of ``README.md``."""
    rows = (
        f"| [{s['name']}]({s['name']}.md) | {s['gives']} | {s['licence']} "
        f"| {s['size']} |\n"
        for s in list_sources()
    )
    return HEAD + "".join(rows)


def with_facts(text: str, source: dict[str, str]) -> str:
    """Put a source's facts below the mark, in place of those that stand there.

    Args:
        text: of its page.
        source: a row of :func:`mora.sources.list_sources`.
    """
    before, after = text.split(MARK)
    rest = after.lstrip("\n")
    while rest.startswith("|"):
        rest = rest.partition("\n")[2]
    facts = "".join(f"| {fact} | {source[fact]} |\n" for fact in FACTS)
    return f"{before}{MARK}\n\n| | |\n|---|---|\n{facts}\n{rest.lstrip()}"


def main() -> None:
    """Write the index and the facts of every page."""
    (FOLDER / "README.md").write_text(make_index())
    for source in list_sources():
        page = FOLDER / f"{source['name']}.md"
        page.write_text(with_facts(page.read_text(), source))


if __name__ == "__main__":
    main()
