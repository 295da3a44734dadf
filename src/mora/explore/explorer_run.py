"""What the explorer page shows of one run."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Real

from mora.embeddings import Embeddings, read_embeddings
from mora.errors import MoraError, examples
from mora.graph.storage import MobilityGraph, read_graph
from mora.modalities import read_features
from mora.personal import require_not_personal
from mora.tokens import read_tokens

Kind = Literal["movement", "people", "input", "label", "prediction", "residual"]


@dataclass(frozen=True, eq=False)
class Column:
    """One number per place.

    Attributes:
        values: in token order; NaN where unknown.
        kind: what it is; residuals are drawn around 0.
        unit: of the values, for people.
        description: what a reader should know; may be empty.
    """

    values: Real[np.ndarray, " tokens"]
    kind: Kind
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, eq=False)
class ExplorerRun:
    """Places, vectors, and what is known of the places.

    Attributes:
        name: of the run.
        embeddings: places and vectors; the places need outlines.
        notes: what a reader must know.
        names: a human name per place, empty where there is none; None without names.
        columns: numbers per place, by name.
        inside: words or names of what is in each place, the most telling first.
        graph: movement between the places.
    """

    name: str
    embeddings: Embeddings
    notes: Sequence[str] = ()
    names: Sequence[str] | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    inside: Sequence[Sequence[str]] | None = None
    graph: MobilityGraph | None = None

    def __post_init__(self) -> None:
        lengths = {f"column {k!r}": len(c.values) for k, c in self.columns.items()}
        for what in ("names", "inside", "graph"):
            part = getattr(self, what)
            lengths |= {} if part is None else {what: len(part)}
        for what, length in lengths.items():
            if length != len(self.embeddings):
                raise MoraError(
                    f"{what}: {length} rows for {len(self.embeddings)} places; "
                    f"expected one row per place, in token order."
                )
        vectors = self.embeddings.vectors
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            names = [self.embeddings.tokens.names()[row] for row in broken[:4]]
            raise MoraError(
                f"{len(broken)} of {len(vectors)} vectors are not finite (first: "
                f"{examples(names)}); expected numbers. Leave these places out."
            )


def read_explorer_run(folder: Path | str) -> ExplorerRun:
    """Gather what the folder of a finished run holds: no tables are read again.

    Args:
        folder: with ``embeddings.parquet``; ``graph/edges`` and ``features`` are used
            where they are there.

    Returns:
        The run, with movement, population and demographics as columns, and without
        names, labels and predictions, which are not kept in the folder.

    Raises:
        MissingFileError: if there are no embeddings.
        PersonalDataError: if the folder holds personal data.
        MoraError: if graph and embeddings are of other places.
    """
    folder = Path(folder)
    require_not_personal(folder)
    embeddings = read_embeddings(folder / "embeddings.parquet")
    graph = _read_graph(folder, embeddings)
    provenance = embeddings.provenance
    return ExplorerRun(
        name=str(provenance.get("run", folder.name)),
        embeddings=embeddings,
        notes=list(provenance.get("notes", [])),
        columns={**_movement(graph), **_people(embeddings), **_inputs(folder)},
        graph=graph,
    )


def _read_graph(folder: Path, embeddings: Embeddings) -> MobilityGraph | None:
    if not (folder / "graph" / "edges").is_dir():
        return None
    tokens = read_tokens(folder / "graph" / "tokens.parquet")
    if not np.array_equal(tokens.ids, embeddings.tokens.ids):
        raise MoraError(
            f"{folder}: the graph has {len(tokens)} places, the embeddings have "
            f"{len(embeddings)}, or their order differs; expected the same places. "
            f"Run the run again."
        )
    return read_graph(folder / "graph" / "edges")


def _movement(graph: MobilityGraph | None) -> dict[str, Column]:
    if graph is None:
        return {}
    out, into = np.asarray(graph.outflow), np.asarray(graph.inflow)
    if np.array_equal(out, into):  # co-visits have no direction
        return {"Movement": Column(out, "movement", "", "To and from other places")}
    return {
        "Movement out": Column(out, "movement", "", "To all other places"),
        "Movement in": Column(into, "movement", "", "From all other places"),
    }


def _people(embeddings: Embeddings) -> dict[str, Column]:
    if embeddings.population is None:
        return {}
    return {"Population": Column(embeddings.population, "people", "people")}


def _inputs(folder: Path) -> dict[str, Column]:
    """Read the features that mean something to people: demographics."""
    manifest = folder / "features" / "manifest.json"
    if not manifest.is_file():
        return {}
    modalities = json.loads(manifest.read_text())["settings"]["modalities"]
    columns = {}
    for name, modality in modalities.items():
        if modality["kind"] != "demographics":  # others are mere directions
            continue
        features = read_features(folder / "features", name)
        values = np.where(features.present[:, None], features.values, np.nan)
        for number, column in enumerate(features.columns):
            text, unit = readable(column)
            shares = unit == "%" and np.nanmax(values[:, number], initial=0) <= 1
            shown = values[:, number] * (100 if shares else 1)
            columns[text] = Column(shown, "input", unit, column)
    return columns


def readable(column: str) -> tuple[str, str]:
    """Turn the name of a table's column into words and a unit.

    Args:
        column: such as ``pct_under_18``.

    Returns:
        Words and unit, such as ``Under 18`` and ``%``; the unit is empty where the
        name tells none.
    """
    bare, percent = re.subn(r"^pct_|_pct$", "", column)
    words = bare.replace("_", " ").strip()
    return words[:1].upper() + words[1:], "%" if percent else ""


def residual_columns(
    name: str,
    label: Float[np.ndarray, " tokens"],
    predicted: Float[np.ndarray, " tokens"],
    unit: str = "",
) -> dict[str, Column]:
    """Give a prediction and its residual as columns.

    Args:
        name: of the label.
        label: NaN where unknown.
        predicted: from held-out places, in the label's unit; NaN where there is none.
        unit: of the label.

    Returns:
        ``NAME, predicted`` and ``NAME, label minus prediction``.
    """
    about = "Read from the vectors of places that were held out"
    return {
        f"{name}, predicted": Column(predicted, "prediction", unit, about),
        f"{name}, label minus prediction": Column(
            label - predicted, "residual", unit, "Above 0: more than the vectors tell"
        ),
    }
