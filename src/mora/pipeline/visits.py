"""Visits become weekly co-visits, a batch at a time."""

import secrets
import shutil
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from mora.config import TokensConfig, VisitsMobility
from mora.errors import ConfigError, MissingColumnError, TableError, examples
from mora.geometry import PlaceIndex
from mora.graph.covisits import UserWeekBuilder, build_covisit_graph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, keep_inside, to_level
from mora.tables import (
    Problem,
    TableReport,
    check_visits,
    count_rows,
    hash_users,
    iso_weeks,
    read_batches,
)
from mora.tables.values import to_numbers
from mora.tokens import GridTokens, H3Tokens, Tokens, ZoneTokens, parse_cells


def mobility_from_visits(
    context: RunContext, mobility: VisitsMobility, folder: Path
) -> Mobility:
    """Build tokens and co-visit graph from visits.

    User ids are replaced by hashes under a secret that is never written; the hashes
    stand in temporary files, which are deleted when the graph is built.

    Args:
        context: the run.
        mobility: where the visits are and how many users an edge needs.
        folder: where the graph and the temporary files go.
    """
    records = folder / "records"
    shutil.rmtree(records, ignore_errors=True)
    places = PlaceCoder.for_tokens(context)
    builder = UserWeekBuilder(records)
    try:
        context.report(_collect(context, mobility, places, builder))
        with context.display.bar("Grouping by user and week", "files") as progress:
            visits = builder.group(progress)
    finally:
        shutil.rmtree(records)
    with context.display.bar("Counting co-visits", "places") as progress:
        graph, kept, table = build_covisit_graph(
            visits,
            folder / "counted",
            min_users=mobility.min_users,
            progress=progress,
        )
    context.display.say("  " + table.describe().replace("\n", "\n  "))
    codes = visits.places[kept]
    tokens = places.tokens(codes)
    ordered = graph.reorder(tokens.encode(places.names(codes)))
    return Mobility(tokens, ordered, facts={"privacy": table.to_json()})


def _collect(
    context: RunContext,
    mobility: VisitsMobility,
    places: "PlaceCoder",
    builder: UserWeekBuilder,
) -> TableReport:
    """Read, check and hash the visits batch by batch into the builder."""
    source = context.source(mobility.table, "mobility.table")
    columns = mobility.table.columns or _usual_columns(source, places)
    salt, reports, done = secrets.token_bytes(32), [], 0
    total = count_rows(source)
    with context.display.bar("Reading visits", "visits") as progress:
        for raw in read_batches(source, columns, places.kind):
            frame = places.with_token(raw)
            frame, found = check_visits(
                frame, timezone=mobility.timezone, source=_name(source)
            )
            frame, outside = keep_inside(frame, context.config.tokens.bounds, "visits")
            code, known = places.encode(frame)
            lost = Problem("in none of the zones", int((~known).sum()), (), "dropped")
            reports.append(_joined(found, outside, lost))
            users = hash_users(frame["user"], salt)[known]
            builder.add(users, _weeks(frame, mobility)[known], code[known])
            done += len(raw)
            progress(done, total or done)
    report = reduce(TableReport.merge, reports)
    if report.rows_kept == 0:
        raise TableError(
            f"{report.describe()}\nExpected at least one visit to a known place. Check "
            f"tokens.bounds and the ids or polygons of the zones."
        )
    return report


def _usual_columns(source: Path | pd.DataFrame, places: "PlaceCoder") -> dict[str, str]:
    """Take a frame's columns under their own names; guess a file's."""
    point = ("x", "y") if places.config.kind == "grid" else ("lon", "lat")
    if not isinstance(source, pd.DataFrame):
        return {name: name for name in ("user", "time", *point)}
    known = ("user", "time", "week", "token", *point)
    return {name: name for name in known if name in source}


def _joined(
    found: TableReport, outside: TableReport | None, lost: Problem
) -> TableReport:
    """Put the findings on one batch together."""
    kept = found.rows_kept if outside is None else outside.rows_kept
    problems = (*found.problems, *(outside.problems if outside else ()))
    problems += (lost,) if lost.count else ()
    return replace(found, rows_kept=kept - lost.count, problems=problems)


def _name(source: Path | pd.DataFrame) -> str:
    return "visits frame" if isinstance(source, pd.DataFrame) else str(source)


def _weeks(frame: pd.DataFrame, mobility: VisitsMobility) -> np.ndarray:
    if "week" in frame:
        return frame["week"].to_numpy(np.int64)
    return iso_weeks(frame["time"], mobility.timezone or "UTC")


class PlaceCoder:
    """Places of visits as 64-bit codes, and codes as tokens.

    Args:
        config: the kind of token.
        zones: the zones, where tokens are zones.
    """

    def __init__(self, config: TokensConfig, zones: ZoneTokens | None) -> None:
        self.config = config
        self.zones = zones
        self.cells = PlaceIndex(config.resolution)

    @classmethod
    def for_tokens(cls, context: RunContext) -> "PlaceCoder":
        """Build the coder that a run's ``tokens:`` ask for.

        Raises:
            ConfigError: if tokens are zones and no areas are given.
        """
        config = context.config.tokens
        if config.kind != "zone":
            return cls(config, None)
        if config.areas is None:
            raise ConfigError(
                "tokens.areas: visits to zones need the zones' polygons; expected a "
                "path and an id."
            )
        return cls(config, context.zones(config.areas))

    @property
    def kind(self) -> str:
        """Name the columns that are expected: a grid has x and y instead."""
        return "grid visits" if self.config.kind == "grid" else "visits"

    def with_token(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Turn the x and y of a square grid into ids."""
        if self.config.kind != "grid" or "token" in frame:
            return frame
        missing = [name for name in ("x", "y") if name not in frame]
        if missing:
            raise MissingColumnError("visits to a grid", missing, list(frame.columns))
        given = frame[["x", "y"]].to_numpy(np.float64)
        whole = (given == np.round(given)).all(axis=1)
        if not whole.all():
            raise TableError(
                f"{(~whole).sum():,} of {len(frame):,} visits have no whole x and y "
                f"(first: {examples(given[~whole][:3].tolist())}); expected columns "
                f"and rows of the grid, from 1."
            )
        xy = given.astype(np.int64)
        GridTokens.from_xy(xy, self.config.width, self.config.height)
        token = self.config.height * (xy[:, 0] - 1) + xy[:, 1] - 1
        return frame.drop(columns=["x", "y"]).assign(token=token)

    def encode(
        self, frame: pd.DataFrame
    ) -> tuple[UInt64[np.ndarray, " rows"], np.ndarray]:
        """Give the code of each row's place, and which rows have one."""
        every = np.ones(len(frame), bool)
        if self.config.kind == "grid":
            ids, unread = to_numbers(frame["token"])
            if unread.any():
                raise TableError(
                    f"{unread.sum():,} of {len(frame):,} visits name no cell of the "
                    f"grid (first: {examples(frame['token'][unread].tolist())}); "
                    f"expected whole numbers, height (x - 1) + (y - 1)."
                )
            return ids.astype(np.uint64), every
        if self.zones is not None:
            token = (
                self.zones.find(frame["token"].to_numpy(str))
                if "token" in frame
                else self.zones.locate(frame[["lon", "lat"]].to_numpy())
            )
            return token.clip(min=0).astype(np.uint64), token >= 0
        if "token" in frame:
            row, distinct = pd.factorize(frame["token"])
            cells = parse_cells(np.asarray(distinct, dtype=str))
            return to_level(cells, self.config.resolution)[row], every
        return self.cells.find(frame[["lon", "lat"]].to_numpy(np.float64)), every

    def tokens(self, codes: UInt64[np.ndarray, " places"]) -> Tokens:
        """Make the tokens of the places that are kept."""
        config = self.config
        if config.kind == "h3":
            return H3Tokens.from_cells(codes)
        if self.zones is not None:
            row = codes.astype(np.int64)
            return ZoneTokens.from_zones(
                self.zones.ids[row], self.zones.polygons()[row]
            )
        ids = codes.astype(np.int64)
        xy = np.column_stack([ids // config.height, ids % config.height]) + 1
        return GridTokens.from_xy(xy, config.width, config.height, config.cell_km)

    def names(self, codes: UInt64[np.ndarray, " places"]) -> np.ndarray:
        """Give the own names of the places."""
        if self.zones is not None:
            return self.zones.ids[codes.astype(np.int64)]
        return codes if self.config.kind == "h3" else codes.astype(np.int64)
