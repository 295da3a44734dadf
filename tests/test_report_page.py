import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mora.benchmark.representativeness import representativeness
from mora.errors import MoraError
from mora.explore.figures import as_png_data_uri, as_svg, lines
from mora.explore.report_page import without_folders, write_report
from mora.explore.report_parts import (
    DataSource,
    Illustration,
    ModelCard,
    ReportPage,
    RepresentativenessSection,
    Table,
    TaskSection,
)
from mora.explore.report_sections import representativeness_section

ATTACK = (
    "</style></pre><script>alert(1)</script><img src=x onerror=alert(2)>&\"'{{title}}"
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><text>chart</text></svg>'
PNG = "data:image/png;base64,iVBORw0KGgo="
SCORES = Table(
    "R2", ("model", "income", "health"), [("mora", "0.4", "0.5")], [(True, False)]
)
FULL = ReportPage(
    "Places of a country",
    warnings=["flows are simulated"],
    notes=["one week only"],
    summary=["Vectors help."],
    tables=[SCORES],
    figures=[Illustration(SVG, "a chart", "look here", whole=True)],
    tasks=[
        TaskSection(
            "income (US$)",
            ["3 places"],
            0.214,
            (0.873, 0.9),
            [Illustration(PNG, "a map")],
            [Table("errors", ("group", "RMSE"), [("urban", "12")])],
        )
    ],
    representativeness=RepresentativenessSection("no homes: flows are simulated"),
    model_card=ModelCard(
        "labels of places", "flows of 2020", 128, [0, 7], ["one country"], ["5 users"]
    ),
    data=[DataSource("flows", "/srv/anna/flows.csv", "sha256:12", "2020", "CC0")],
    configuration="name: run\n",
    versions={"mora": "0.1.0", "torch": "2.7"},
)
VOID = {"meta", "link", "img"}


class Elements(HTMLParser):
    """Tags with their attributes and text; refuses a page that is not balanced."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.seen = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.seen.append((self.open[-1], data))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(data for _, data in self.seen)


def html_of(page: ReportPage, folder) -> str:
    path = folder / "report.html"
    write_report(path, page)
    return path.read_text(encoding="utf-8")


def elements(page: ReportPage, folder) -> Elements:
    return Elements(html_of(page, folder))


def test_everything_given_is_shown(tmp_path):
    shown = elements(FULL, tmp_path).text
    for text in (
        *("Places of a country", "flows are simulated", "one week only", "look here"),
        *("Vectors help.", "0.4", "income (US$)", "3 places", "urban", "12"),
        *("Moran's I of the residuals is 0.214", "The 90% prediction intervals hold"),
        *("87.3%", "no homes: flows are simulated", "labels of places", "128 numbers"),
        *("flows of 2020", "0, 7", "one country", "5 users", "flows.csv", "sha256:12"),
        *("2020", "CC0", "name: run", "mora 0.1.0, torch 2.7"),
    ):
        assert text in shown, text
    assert "anna" not in shown


@pytest.mark.parametrize(
    ("part", "heading"),
    [
        ({"summary": ()}, "Summary"),
        ({"tables": (), "figures": ()}, "Scores"),
        ({"tasks": ()}, "Task: income (US$)"),
        ({"representativeness": None}, "Whose movement this is"),
        ({"model_card": None}, "Model card"),
        ({"data": ()}, "Data"),
        ({"configuration": ""}, "Configuration"),
    ],
)
def test_sections_without_content_are_left_out(part, heading, tmp_path):
    full, less = elements(FULL, tmp_path), elements(replace(FULL, **part), tmp_path)
    assert ("h2", heading) in full.seen
    assert heading not in less.text


def test_an_empty_report_is_a_title(tmp_path):
    page = elements(ReportPage("Nothing yet"), tmp_path)
    assert page.all("section") == page.all("table") == page.all("li") == []
    assert ("h1", "Nothing yet") in page.seen


def test_the_page_loads_and_runs_nothing(tmp_path):
    text = html_of(FULL, tmp_path)
    page = Elements(text)
    assert page.all("script") == []
    links = [
        v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")
    ]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_everything_is_escaped(tmp_path):
    attack = Table(ATTACK, (ATTACK, ATTACK), [(ATTACK, ATTACK)])
    figure = Illustration(SVG, ATTACK, ATTACK)
    page = ReportPage(
        ATTACK,
        *([ATTACK], [ATTACK], [ATTACK], [attack], [figure]),
        [TaskSection(ATTACK, [ATTACK], figures=[figure], tables=[attack])],
        RepresentativenessSection(ATTACK, [attack], [figure]),
        ModelCard(ATTACK, ATTACK, 2, [], [ATTACK], [ATTACK]),
        [DataSource(*[ATTACK] * 5)],
        ATTACK,
        {ATTACK: ATTACK},
    )
    found = elements(page, tmp_path)
    assert found.all("script") == []
    assert len(found.all("img")) == 3
    assert not any("onerror" in attrs for _, attrs in found.tags)
    assert found.text.count("alert(1)") > 20
    assert "{{title}}" in found.text


def test_figures_are_inline_and_described(tmp_path):
    chart, picture = elements(FULL, tmp_path).all("img")
    encoded = chart["src"].removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(encoded).decode() == SVG
    assert picture["src"] == PNG
    assert (chart["alt"], picture["alt"]) == ("a chart", "a map")


def test_real_figures_are_accepted(tmp_path):
    x = np.arange(3.0)
    figure = lines({"a": (x, x)}, title="t", xlabel="x", ylabel="y")
    images = [as_svg(figure), as_png_data_uri(figure)]
    page = ReportPage("x", figures=[Illustration(image, "line") for image in images])
    assert len(elements(page, tmp_path).all("img")) == 2


@pytest.mark.parametrize(
    "image", ["https://example.org/x.png", 'data:image/png;base64,"', "<b>"]
)
def test_other_images_are_refused(image, tmp_path):
    with pytest.raises(MoraError, match=r"a figure begins with .* as_png_data_uri"):
        html_of(ReportPage("x", figures=[Illustration(image, "")]), tmp_path)


def test_whole_figures_stand_alone(tmp_path):
    page = elements(FULL, tmp_path)
    assert [attrs.get("class") for attrs in page.all("figure")] == ["whole", None]


def test_headings_are_in_order_and_linked(tmp_path):
    page = elements(FULL, tmp_path)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels == [1] + [2] * 7
    anchors = {attrs["id"] for attrs in page.all("h2")}
    assert {attrs["href"] for attrs in page.all("a")} == {f"#{a}" for a in anchors}
    assert {attrs["aria-labelledby"] for attrs in page.all("section")} == anchors


def test_tables_have_headers_with_a_scope_and_scroll(tmp_path):
    page = elements(replace(FULL, tasks=(), data=()), tmp_path)
    assert [attrs["scope"] for attrs in page.all("th")] == ["col"] * 3 + ["row"]
    assert [attrs.get("class") for attrs in page.all("td")] == ["best", None]
    [region] = [attrs for attrs in page.all("div") if attrs.get("role") == "region"]
    assert region == {
        "class": "scroll",
        "role": "region",
        "tabindex": "0",
        "aria-label": "R2",
    }


def test_tables_of_words_may_break(tmp_path):
    words = replace(SCORES, words=True)
    page = elements(ReportPage("x", tables=[SCORES, words]), tmp_path)
    assert [attrs.get("class") for attrs in page.all("table")] == [None, "words"]


@pytest.mark.parametrize(
    "table",
    [
        replace(SCORES, rows=[("mora", "0.4")]),
        replace(SCORES, best=[(True,)]),
        replace(SCORES, best=[(True, False)] * 2),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, tmp_path):
    with pytest.raises(MoraError, match="table 'R2': 3 columns, rows of"):
        html_of(ReportPage("x", tables=[table]), tmp_path)


def test_warnings_come_first_and_are_called_so(tmp_path):
    shown = elements(FULL, tmp_path).text
    assert "Warning:  flows are simulated" in shown
    assert shown.index("Warning:") < shown.index("one week") < shown.index("Summary")


def test_equal_reports_are_equal_files(tmp_path):
    assert html_of(FULL, tmp_path) == html_of(FULL, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path: /home/John Smith/x.csv", "path: x.csv"),
        ("- '/a b/c.csv'\n- d.csv", "- 'c.csv'\n- d.csv"),
        ("see /a/b/c.csv and /d/e.", "see c.csv and e."),
        ("[/a/b.csv, ~/c/d.csv]", "[b.csv, d.csv]"),
        (r"file: C:\Users\Ann B\f.csv", "file: f.csv"),
        (r"C:\Users\me\f.csv or \\host\share\g.csv", "f.csv or g.csv"),
        ("file:///home/me/x.csv", "x.csv"),
    ],
)
def test_folders_are_cut_from_paths(text, expected):
    assert without_folders(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "km/h, 1/2, and/or, a / b",
        "https://example.org/a/b.csv",
        "s3://bucket/a/b",
        "../data/x.csv",
        "data/x.csv",
        "",
    ],
)
def test_other_slashes_stay(text):
    assert without_folders(text) == text


def test_folders_are_cut_everywhere_on_the_page(tmp_path):
    path = "/home/anna/runs/x.csv"
    page = ReportPage(
        *(path, [path], [path], [path]),
        [Table(path, (path, path), [(path, path)])],
        [Illustration(SVG, path, path)],
        [TaskSection(path, [path])],
        configuration=f"labels:\n  path: {path}\n",
        data=[DataSource(path, r"C:\anna\x.csv", "sha256:1")],
        versions={"x": path},
    )
    text = html_of(page, tmp_path)
    assert "anna" not in text
    assert "path: x.csv" in text


def test_representativeness_is_shown_with_its_ratios(tmp_path):
    state = np.array(["NY", "NY", "NJ", "NJ", "TX"])
    people = np.array([100.0, 100.0, 200.0, np.nan, 0.0])
    found = representativeness(np.array([30, 10, 60, 7, 0]), people, {"state": state})
    section = representativeness_section(found)
    page = elements(ReportPage("x", representativeness=section), tmp_path)
    for text in ("100 homes of users and 400 people over 4 places", "7 users live"):
        assert text in section.remark
    [table], [figure] = section.tables, section.figures
    assert table.rows[1] == ("NY", "40", "200", "40.0%", "50.0%", "0.80")
    assert table.rows[2][-1] == "unknown"
    assert "Lowest: NY, 0.80. Highest: NJ, 1.20." in figure.alt
    assert len(page.all("table")) == len(page.all("img")) == 1


def test_representativeness_without_groups_is_a_sentence():
    homes = np.array([2, 2])
    section = representativeness_section(representativeness(homes, homes, {}))
    assert "correlation unknown (Pearson)" in section.remark
    assert "are left out" not in section.remark
    assert section.tables == section.figures == []
