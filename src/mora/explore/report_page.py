"""A report as one page: it loads nothing, needs no script and names no folder."""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from mora.errors import MoraError
from mora.explore.report_parts import (
    DataSource,
    Illustration,
    ModelCard,
    ReportPage,
    Table,
    TaskSection,
)

PNG = "data:image/png;base64,"
ROOT = r"(?:file://)?(?:~?/|[A-Za-z]:[\\/]|\\\\)(?![/\s])"  # of Unix or Windows
NAME = r"[^\s/\\\"'`<>|:,;()\[\]{}]+"
# A path that is a whole value of YAML may have blanks; one in a sentence may not.
VALUE = re.compile(rf"^(\s*(?:- +|[\w.-]+: +)+[\"']?){ROOT}[^\n]*[/\\]", re.MULTILINE)
WORD = re.compile(rf"(?<![^\s\"'`(\[{{=:,;<>]){ROOT}(?:{NAME}[/\\])*")


def write_report(path: Path, page: ReportPage) -> None:
    """Write a report as one HTML file without any outside resource.

    Everything is escaped, and of absolute paths only the names at their ends are kept.

    Args:
        path: the HTML file to write; replaced if it exists.
        page: what to show; sections without content are left out.

    Raises:
        MoraError: if a table has rows of unequal width, or a figure is neither SVG
            nor an inline PNG.
    """
    sections = list(_sections(page))
    contents = [f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections]
    body = [
        f'<section aria-labelledby="{key}">\n<h2 id="{key}">{name}</h2>\n{content}\n'
        "</section>"
        for key, name, content in sections
    ]
    parts = {
        "title": _text(page.title),
        "notes": _notes(page.warnings, "warnings") + _notes(page.notes, ""),
        "contents": f"<ul>{''.join(contents)}</ul>",
        "sections": "\n".join(body),
        "versions": _text(", ".join(f"{n} {v}" for n, v in page.versions.items())),
    }
    template = files("mora.explore").joinpath("report_template.html")
    text = template.read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], text)
    path.write_text(text, encoding="utf-8", newline="\n")


def without_folders(text: str) -> str:
    """Cut absolute paths down to the names at their ends.

    Args:
        text: prose or YAML.

    Returns:
        The text; unchanged where no absolute path is in it. Relative paths and web
        addresses stay as they are.
    """
    return WORD.sub("", VALUE.sub(r"\1", text))


def _sections(page: ReportPage) -> Iterator[tuple[str, str, str]]:
    """Give anchor, heading and content of each section that has any."""
    if page.summary:
        yield "summary", "Summary", "".join(f"<p>{_text(s)}</p>" for s in page.summary)
    if page.tables or page.figures:
        content = [_table(table) for table in page.tables]
        yield "scores", "Scores", "".join(content) + _figures(page.figures)
    for number, task in enumerate(page.tasks):
        yield f"task-{number}", f"Task: {_text(task.name)}", _task(task)
    if page.representativeness:
        found = page.representativeness
        content = "".join(_table(table) for table in found.tables)
        reason = f"<p>{_text(found.remark)}</p>" if found.remark else ""
        content = reason + content + _figures(found.figures)
        yield "representativeness", "Whose movement this is", content
    if page.model_card:
        yield "model-card", "Model card", _model_card(page.model_card)
    if page.data:
        yield "data", "Data", _data(page.data)
    if page.configuration:
        shown = f"<pre>{_text(page.configuration)}</pre>"
        shown = f"<details><summary>All settings (YAML)</summary>{shown}</details>"
        yield "configuration", "Configuration", shown


def _task(task: TaskSection) -> str:
    parts = [f"<p>{_text(sentence)}</p>" for sentence in task.remarks]
    said = []
    if task.moran is not None:
        said.append(
            f"Moran's I of the residuals is {task.moran:.3f}: 0 if errors are spread "
            "without a pattern, towards 1 if neighbours share them."
        )
    if task.coverage is not None:
        got, wanted = task.coverage
        said.append(
            f"The {wanted:.0%} prediction intervals hold {got:.1%} of the labels."
        )
    parts += [f"<p>{_text(sentence)}</p>" for sentence in said]
    parts.append(_figures(task.figures))
    parts += [_table(table) for table in task.tables]
    return "".join(parts)


def _model_card(card: ModelCard) -> str:
    entries = {
        "Intended use": [card.intended_use],
        "Trained on": [card.trained_on],
        "Size of a vector": [f"{card.dim} numbers"],
        "Seeds": [", ".join(map(str, card.seeds)) or "none drawn"],
        "Limits": card.limits,
        "Privacy": card.privacy,
    }
    items = []
    for name, texts in entries.items():
        shown = "".join(f"<li>{_text(text)}</li>" for text in texts)
        whole = f"<ul>{shown}</ul>" if len(texts) > 1 else "".join(map(_text, texts))
        items.append(f"<dt>{name}</dt><dd>{whole or 'not stated'}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _data(sources: Sequence[DataSource]) -> str:
    rows = [
        (s.input, re.split(r"[/\\]", s.file)[-1], s.checksum, s.year, s.notes)
        for s in sources
    ]
    header = ("input", "file", "checksum", "year", "notes")
    caption = "Where the inputs are from; folders are left out."
    return _table(Table(caption, header, rows, words=True))


def _notes(notes: Sequence[str], kind: str) -> str:
    label, mark = ("Warnings", "<strong>Warning:</strong> ") if kind else ("Notes", "")
    items = "".join(f"<li>{mark}{_text(note)}</li>" for note in notes)
    shown = f'<ul class="notes {kind}" aria-label="{label}">{items}</ul>'
    return shown if notes else ""


def _table(table: Table) -> str:
    """Write a table that scrolls in its own box where it is too wide."""
    _check_table(table)
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.header)
    rows = []
    for number, (first, *cells) in enumerate(table.rows):
        best = table.best[number] if table.best else [False] * len(cells)
        shown = "".join(
            f'<td class="best">{_text(cell)}</td>' if top else f"<td>{_text(cell)}</td>"
            for cell, top in zip(cells, best, strict=True)
        )
        rows.append(f'<tr><th scope="row">{_text(first)}</th>{shown}</tr>')
    caption = _text(table.caption)
    kind = ' class="words"' if table.words else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
        f"<table{kind}>\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>{chr(10).join(rows)}</tbody>\n</table></div>\n"
    )


def _check_table(table: Table) -> None:
    """Refuse rows that do not fit the header, or marks that do not fit the rows."""
    widths = {len(row) for row in table.rows} - {len(table.header)}
    marks = [len(row) + 1 for row in table.best]
    if widths or (marks and marks != [len(table.header)] * len(table.rows)):
        raise MoraError(
            f"table {table.caption!r}: {len(table.header)} columns, rows of "
            f"{sorted(widths) or len(table.header)} cells and marks for {len(marks)} "
            f"rows; expected a cell a column, and a mark a cell but the first."
        )


def _figures(figures: Sequence[Illustration]) -> str:
    """Lay figures out beside each other where there is room."""
    small = [_figure(each) for each in figures if not each.whole]
    whole = [_figure(each) for each in figures if each.whole]
    beside = f'<div class="figures">{"".join(small)}</div>' if small else ""
    return beside + "".join(whole)


def _figure(figure: Illustration) -> str:
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>"
    kind = ' class="whole"' if figure.whole else ""
    return (
        f'<figure{kind}><img src="{_address(figure.image)}" alt="{_text(figure.alt)}">'
        f"{caption if figure.caption else ''}</figure>\n"
    )


def _address(image: str) -> str:
    """Give an image as a data address, in which it can neither run nor load anything.

    An SVG inside the page would share its names and styles.
    """
    if image.startswith("<svg"):
        encoded = base64.b64encode(image.encode("utf-8")).decode("ascii")
        return f"data:image/svg+xml;base64,{encoded}"
    if re.fullmatch(re.escape(PNG) + r"[A-Za-z0-9+/=]+", image):
        return image
    raise MoraError(
        f"a figure begins with {image[:20]!r}; expected the text of as_svg or "
        f"as_png_data_uri."
    )


def _text(text: str) -> str:
    """Make text safe to show."""
    return html.escape(without_folders(text))
