"""Which place a visit was at, and the tokens of those places."""

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from mora.config import TokensConfig
from mora.errors import ConfigError, MissingColumnError, TableError, examples
from mora.geometry import PlaceIndex
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import to_level
from mora.tables.values import to_numbers
from mora.tokens import GridTokens, H3Tokens, Tokens, ZoneTokens, parse_cells


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
