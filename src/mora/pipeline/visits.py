"""Visits become weekly co-visits, a batch at a time."""

import secrets
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from mora.config import TokensConfig, VisitsMobility
from mora.errors import ConfigError, TableError
from mora.geometry import PlaceIndex, change_level
from mora.graph.covisits import UserWeekBuilder, build_covisit_graph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, keep_inside
from mora.tables import (
    TableReport,
    check_visits,
    count_rows,
    hash_users,
    iso_weeks,
    read_batches,
)
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
    report = _collect(context, mobility, places, builder)
    context.report(report)
    with context.display.bar("Grouping by user and week", "files") as progress:
        visits = builder.group(progress)
    with context.display.bar("Counting co-visits", "places") as progress:
        graph, kept, table = build_covisit_graph(
            visits,
            folder / "counted",
            min_users=mobility.min_users,
            progress=progress,
        )
    shutil.rmtree(records)
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
    columns = mobility.table.columns or {
        name: name for name in ("user", "time", "lon", "lat")
    }
    salt, report, done = secrets.token_bytes(32), None, 0
    total = count_rows(source)
    with context.display.bar("Reading visits", "visits") as progress:
        for raw in read_batches(source, columns, places.kind):
            frame = places.with_token(raw)
            frame, found = check_visits(
                frame, timezone=mobility.timezone, source=str(_name(source))
            )
            frame, outside = keep_inside(frame, context.config.tokens.bounds, "visits")
            report = found if report is None else report.merge(found)
            report = report if outside is None else report.merge(outside)
            code, known = places.encode(frame)
            users = hash_users(frame["user"], salt)[known]
            builder.add(users, _weeks(frame, mobility)[known], code[known])
            done += len(raw)
            progress(done, total or done)
    if report is None:
        raise TableError(f"{_name(source)}: no visits; expected at least one row.")
    return report


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
        xy = frame[["x", "y"]].to_numpy(np.int64)
        if len(xy):
            GridTokens.from_xy(xy, self.config.width, self.config.height)
        token = self.config.height * (xy[:, 0] - 1) + xy[:, 1] - 1
        return frame.drop(columns=["x", "y"]).assign(token=token)

    def encode(
        self, frame: pd.DataFrame
    ) -> tuple[UInt64[np.ndarray, " rows"], np.ndarray]:
        """Give the code of each row's place, and which rows have one."""
        every = np.ones(len(frame), bool)
        if self.config.kind == "grid":
            return frame["token"].astype(np.uint64).to_numpy(), every
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
            return change_level(cells, self.config.resolution)[row], every
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
