"""Dated flows become one matrix a week or month, over the same places."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float

from mora.errors import GraphError, MissingColumnError, TableError, examples
from mora.graph.storage import MobilityGraph
from mora.tokens import Tokens, ZoneTokens

LETTERS = {"day": "D", "week": "W", "month": "M"}  # pandas: weeks begin on Monday
COLUMNS = ("time", "origin", "destination", "weight")


@dataclass(frozen=True, eq=False)
class PeriodFlows:
    """Directed flows between the same places in several periods.

    Attributes:
        tokens: the places, of all periods.
        periods: names, in the order of time: ``2020-03``, or the first day of a week.
        matrices: ``(tokens, tokens)`` of each period, ``[i, j]`` moves from i to j.
        dates: distinct dates in the table within each period; months hold four or five
            weekly dates.
    """

    tokens: Tokens
    periods: tuple[str, ...]
    matrices: tuple[sp.csr_array, ...]
    dates: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = {len(self.periods), len(self.matrices), len(self.dates)}
        shapes = {matrix.shape for matrix in self.matrices}
        if len(counts) > 1 or shapes != {(len(self.tokens), len(self.tokens))}:
            raise GraphError(
                f"{len(self.periods)} periods, {len(self.matrices)} matrices of shapes "
                f"{examples(sorted(shapes))} and {len(self.dates)} counts of dates; "
                f"expected one each, all {len(self.tokens)} places square."
            )

    def __len__(self) -> int:
        return len(self.periods)

    def flows(self, period: str | None = None) -> sp.csr_array:
        """Give the matrix of a period, or the sum of all for None.

        Raises:
            GraphError: if there is no such period.
        """
        if period is None:
            return sp.csr_array(sum(self.matrices[1:], self.matrices[0]))
        if period not in self.periods:
            raise GraphError(
                f"no period {period!r} among {len(self)}; expected one of "
                f"{self.periods[0]} to {self.periods[-1]}."
            )
        return self.matrices[self.periods.index(period)]

    def graph(self, period: str | None = None) -> MobilityGraph:
        """Give the mobility graph of a period, or of all together for None."""
        return MobilityGraph.from_matrix(self.flows(period))

    def volume(self) -> Float[np.ndarray, "periods tokens"]:
        """Sum all movement to, from and within each place, as a mean per date."""
        return np.stack(
            [
                volume_of(matrix) / dates
                for matrix, dates in zip(self.matrices, self.dates, strict=True)
            ]
        )


def volume_of(flows: sp.csr_array) -> Float[np.ndarray, " tokens"]:
    """Sum all movement to, from and within each place; what stays within counts once.

    Returns:
        Volumes in the unit of the flows; 0 for a place without any.
    """
    ends = np.asarray(flows.sum(axis=0)).ravel() + np.asarray(flows.sum(axis=1)).ravel()
    return ends - flows.diagonal()


def flows_by_period(
    flows: pd.DataFrame, *, every: str = "month", tokens: Tokens | None = None
) -> PeriodFlows:
    """Add dated flows up by period.

    Args:
        flows: ``time`` (dates, ISO text or whole numbers such as 20200301; the date
            on the local clock counts), ``origin``, ``destination``, ``weight`` >= 0.
        every: length of a period: ``day``, ``week`` (from Monday) or ``month``; a row
            belongs to the period that its date lies in.
        tokens: the places; the names in the table, as zones, by default.

    Returns:
        The flows; periods without a row are left out.

    Raises:
        MissingColumnError: if a column is missing.
        TableError: if there is no row, or a date or weight cannot be used.
        UnknownTokenError: if an end is none of ``tokens``.
    """
    missing = [name for name in COLUMNS if name not in flows]
    if missing:
        raise MissingColumnError("dated flows", missing, list(map(str, flows.columns)))
    if every not in LETTERS:
        raise TableError(f"every is {every!r}; expected one of {', '.join(LETTERS)}.")
    weight = _weights(flows["weight"])
    date = _dates(flows["time"])
    start = date.dt.to_period(LETTERS[every]).dt.start_time
    name = start.dt.strftime("%Y-%m" if every == "month" else "%Y-%m-%d")
    number, periods = pd.factorize(name, sort=True)
    if tokens is None:
        ends = flows[["origin", "destination"]].astype(str).to_numpy()
        tokens = ZoneTokens.from_zones(np.unique(ends.astype(str)))
    origin, destination = (
        tokens.encode(flows[end].to_numpy()) for end in ("origin", "destination")
    )
    size = (len(tokens), len(tokens))
    dates = date.groupby(number).nunique()
    matrices = []
    for period in range(len(periods)):
        rows = number == period
        ends_of = (origin[rows], destination[rows])
        matrices.append(sp.csr_array((weight[rows], ends_of), shape=size))
    return PeriodFlows(
        tokens, tuple(map(str, periods)), tuple(matrices), tuple(dates.tolist())
    )


def _weights(given: pd.Series) -> Float[np.ndarray, " rows"]:
    """Give the weights as numbers.

    Raises:
        TableError: if there is none, or one is negative, missing or no number.
    """
    weight = pd.to_numeric(given, errors="coerce").to_numpy(np.float64)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any() or not len(weight):
        raise TableError(
            f"dated flows: {bad.sum():,} of {len(weight):,} weights cannot be used "
            f"(first: {examples(given[bad].tolist())}); expected numbers >= 0, and at "
            f"least one row."
        )
    return weight


def _dates(given: pd.Series) -> pd.Series:
    """Give the date of each row on its own clock.

    Raises:
        TableError: if a date cannot be read.
    """
    text = given.astype(str)
    if pd.api.types.is_numeric_dtype(given):
        text = text.where(text.str.fullmatch(r"\d{8}"))  # not seconds since 1970
    else:
        text = text.str.slice(0, 10)  # the time of day and its offset change nothing
    date = pd.to_datetime(text, errors="coerce", format="ISO8601")
    bad = date.isna()
    if bad.any():
        raise TableError(
            f"dated flows: {bad.sum():,} of {len(given):,} times cannot be read "
            f"(first: {examples(given[bad].tolist())}); expected ISO dates such as "
            f"2020-03-01, or 20200301."
        )
    return date.dt.normalize().reset_index(drop=True)
