"""The data folder of the explorer page: plain columns that a browser reads as they are.

Numbers are little-endian files of one type, which their names end in (``u8``, ``i8``,
``u32``, ``u64``, ``f32``); ``meta.json`` says what each is.
"""

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from mora.errors import MoraError
from mora.explore.colour import (
    component_colours,
    sequential_ramp,
    vector_colours,
)
from mora.explore.explorer_numbers import (
    column_legend,
    diverging_ramp,
    outline_arrays,
    rounded,
)
from mora.explore.explorer_run import Column, ExplorerRun, read_explorer_run
from mora.explore.groups import describe_groups, group_colours, vector_groups
from mora.explore.map import unbroken
from mora.explore.strongest_edges import strongest_edges
from mora.graph.shown_edges import counts_users, shown_rule
from mora.tokens import GridTokens, H3Tokens, Tokens

FORMAT = 1  # of the folder; the page refuses another
FOLDER = "data"  # beside index.html
SECOND = "second"  # within it: the run to compare with
KEY_SIDE = 24  # colours along each side of the key to the vector colours
RAMP_STEPS = 64
TYPES = {"u8": "u1", "i8": "i1", "u32": "<u4", "u64": "<u8", "f32": "<f4"}
OUTLINE_FILES = {"corners": "f32", "ring_start": "u32", "token_start": "u32"}
GROUPED_BY = ("movement", "people", "input", "label")  # what may describe a group


def write_explorer(
    run: Path | str | ExplorerRun,
    to: Path | str,
    second_run: Path | str | ExplorerRun | None = None,
    *,
    page: Path | None = None,
    service: str | None = None,
    offline: bool = True,
    partners: int = 16,
    min_users: int = 5,
    published: bool = False,
    groups: int = 8,
    seed: int = 0,
) -> Path:
    """Write what the explorer page shows of a run, or of two.

    Args:
        run: folder of a finished run, or what was gathered of one.
        to: folder of the page; ``data`` in it is replaced.
        second_run: a run to show beside the first.
        page: folder of the built page, copied to ``to``; None if it is there already.
        service: address of the HTTP service from the page (``.`` where it serves the
            page); the page then asks it for similar places and words. None: the page
            does without.
        offline: also write each file as a script, because browsers do not let a page
            that is opened from disk read other files; the folder is then twice as
            large.
        partners: edges shown a place, the strongest.
        min_users: see :func:`mora.graph.shown_edges.shown_edges`.
        published: see there; which it was is among the notes of the page.
        groups: groups of like places, 1 to 255.
        seed: of the groups.

    Returns:
        The folder of the data.

    Raises:
        MissingFileError: if a run has no embeddings.
        PersonalDataError: if a run's folder holds personal data.
        NoGeometryError: if the places have no outlines.
        MoraError: if ``groups`` or ``partners`` is out of range, or the page was not
            built.
    """
    if not 1 <= groups <= 255:
        raise MoraError(f"groups is {groups}; expected 1 to 255.")
    if page is not None and not (page / "index.html").is_file():
        raise MoraError(
            f"{page} holds no index.html; expected the built page. Run `npm ci && npm "
            f"run build` in web/."
        )
    runs = [_gathered(given) for given in (run, second_run) if given is not None]
    to = Path(to)
    part = to / f"{FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    for folder, shown in zip((part, part / SECOND), runs, strict=False):
        folder.mkdir(parents=True)
        files = _Files(folder, offline)
        arcs = _write_arcs(files, shown, partners, min_users, published)
        meta = _write_run(files, shown, groups, seed) | arcs
        first = folder == part
        second = SECOND if first and len(runs) == 2 else None
        asked = service if first else None  # a service knows one run
        files.text("meta.json", {**meta, "service": asked, "second": second})
    if page is not None:
        shutil.copytree(page, to, dirs_exist_ok=True)
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return part.rename(to / FOLDER)


def _gathered(run: Path | str | ExplorerRun) -> ExplorerRun:
    return run if isinstance(run, ExplorerRun) else read_explorer_run(run)


@dataclass(frozen=True)
class _Files:
    """Writes the files of one run.

    Attributes:
        folder: theirs.
        offline: whether each is written as a script, too.
    """

    folder: Path
    offline: bool

    def array(self, name: str, values: np.ndarray) -> str:
        """Write numbers in the type that the name ends in; give the name."""
        kind = TYPES[name.rpartition(".")[2]]
        return self._write(name, np.ascontiguousarray(values, kind).tobytes())

    def text(self, name: str, content: Any) -> str:
        """Write plain values as JSON; give the name."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        if self.offline:
            packed = base64.b64encode(content).decode("ascii")
            script = f'moraFile("{packed}");\n'
            (self.folder / f"{name}.js").write_text(script, encoding="ascii")
        return name


def _write_run(
    files: _Files,
    run: ExplorerRun,
    groups: int,
    seed: int,
) -> dict[str, Any]:
    """Write the files of a run; give what ``meta.json`` says of them."""
    tokens, vectors = run.embeddings.tokens, run.embeddings.comparable()
    bytes_, scale = rounded(vectors)
    return {
        "format": FORMAT,
        "name": run.name,
        "kind": tokens.kind,
        "cellKm": tokens.cell_km if isinstance(tokens, GridTokens) else None,
        "places": len(tokens),
        "dim": run.embeddings.dim,
        **_write_places(files, tokens, run),
        "vectors": {
            "values": files.array("vectors.i8", bytes_),
            "scale": files.array("vectors_scale.f32", scale),
        },
        "components": _write_components(files, vectors),
        "groups": _write_groups(files, run, groups, seed),
        "columns": [
            _write_column(files, number, name, column)
            for number, (name, column) in enumerate(run.columns.items())
        ],
        "ramps": {
            "sequential": sequential_ramp(RAMP_STEPS).tolist(),
            "diverging": diverging_ramp(RAMP_STEPS).tolist(),
        },
    }


def _write_places(files: _Files, tokens: Tokens, run: ExplorerRun) -> dict[str, Any]:
    """Write where the places are and what they are called."""
    about: dict[str, Any] = {"names": None, "inside": None}
    if isinstance(tokens, H3Tokens):  # the page knows their outlines
        about["cells"] = files.array("cells.u64", tokens.ids)
        middles = tokens.centroids()
    else:
        about["ids"] = files.text("ids.json", tokens.names())
        outlines = tokens.polygons()
        if not isinstance(tokens, GridTokens):
            outlines = unbroken(outlines)
        arrays = outline_arrays(outlines)
        about["outlines"] = {
            name: files.array(f"{name}.{kind}", arrays[name])
            for name, kind in OUTLINE_FILES.items()
        }
        middles = shapely.get_coordinates(shapely.point_on_surface(outlines))
    about["middles"] = files.array("middles.f32", middles)
    if run.names is not None:
        about["names"] = files.text("names.json", list(run.names))
    if run.inside is not None:
        inside = [list(words) for words in run.inside]
        about["inside"] = files.text("inside.json", inside)
    return about


def _write_components(files: _Files, vectors: np.ndarray) -> dict[str, Any]:
    """Write the colours of the vectors, and their key."""
    colours, share = vector_colours(vectors)
    steps = np.linspace(-1, 1, KEY_SIDE)
    across, up = (axis.ravel() for axis in np.meshgrid(steps, steps[::-1]))
    key = component_colours(np.column_stack([across, up, np.zeros(KEY_SIDE**2)]))
    return {
        "colours": files.array("components.u8", colours),
        "key": files.array("components_key.u8", key),
        "share": share.tolist(),
    }


def _write_groups(
    files: _Files, run: ExplorerRun, count: int, seed: int
) -> dict[str, Any]:
    """Write the groups of like places, their colours and what they stand out by."""
    group = vector_groups(run.embeddings.comparable(), count, seed)
    telling: Mapping[str, np.ndarray] = {
        name: column.values
        for name, column in run.columns.items()
        if column.kind in GROUPED_BY
    }
    sizes = np.bincount(group)
    return {
        "values": files.array("groups.u8", group),
        "colours": group_colours(len(sizes)).tolist(),
        "sizes": sizes.tolist(),
        "descriptions": describe_groups(group, telling),
    }


def _write_column(
    files: _Files, number: int, name: str, column: Column
) -> dict[str, Any]:
    """Write the numbers of a column; give what its legend says."""
    return {
        "name": name,
        "kind": column.kind,
        "unit": column.unit,
        "description": column.description,
        "values": files.array(f"column_{number}.f32", column.values),
        **column_legend(column),
    }


def _write_arcs(
    files: _Files, run: ExplorerRun, partners: int, min_users: int, published: bool
) -> dict[str, Any]:
    """Write the strongest edges of each place, and note which are shown."""
    graph, notes = run.graph, list(run.notes)
    if graph is None:
        return {"notes": notes, "arcs": None}
    notes.append(shown_rule(graph, min_users, published=published))
    if not (published or counts_users(graph)):
        return {"notes": notes, "arcs": None}
    starts, other, weight = strongest_edges(
        graph, partners, min_users, published=published
    )
    arcs = {
        "starts": files.array("arc_start.u32", starts),
        "targets": files.array("arc_target.u32", other),
        "weights": files.array("arc_weight.f32", weight),
        "most": partners,
        "minUsers": min_users if counts_users(graph) else None,
    }
    return {"notes": notes, "arcs": arcs}
