"""Flows of a file that outgrows memory, added up as they are read."""

from collections.abc import Iterable

import pandas as pd

from mora.errors import TableError
from mora.sources.files import with_dropped
from mora.sources.registry import DROPPED, add_dropped
from mora.tables.inspection import Inspection
from mora.tables.rules import check_weights

ENDS = ["origin", "destination"]
PARTS_HELD = 8  # sums that wait before they become one: fewer passes over the pairs


def to_flows(inspection: Inspection, read: pd.DataFrame) -> pd.DataFrame:
    """Give the flows that are left, with the count of those that were dropped.

    Args:
        inspection: origin, destination and weight.
        read: the rows as they came.

    Raises:
        TableError: if a weight is negative, missing or not a number.
    """
    check_weights(inspection)
    return with_dropped(inspection, [*ENDS, "weight"], read)


def sum_flows(parts: Iterable[pd.DataFrame], name: str) -> pd.DataFrame:
    """Add the weights of each pair of ends; memory grows with pairs, not with rows.

    Args:
        parts: origin, destination, weight, as :func:`to_flows` gives them.
        name: of the source, for the message.

    Returns:
        One row a pair in the order of their first rows, the weight as float64;
        ``attrs["dropped"]`` counts the rows left out, by reason.

    Raises:
        TableError: if no flow is left.
    """
    sums: list[pd.DataFrame] = []
    dropped: dict[str, int] = {}
    for part in parts:
        add_dropped(dropped, part)
        part.attrs = {}
        sums.append(_add(part))
        if len(sums) > PARTS_HELD:
            sums = [_add(pd.concat(sums))]
    flows = _add(pd.concat(sums)) if sums else pd.DataFrame(columns=[*ENDS, "weight"])
    if flows.empty:
        reasons = ", ".join(f"{count:,}: {why}" for why, count in dropped.items())
        raise TableError(
            f"{name}: no flow is left ({reasons or 'no rows'}); expected at least one."
        )
    flows.attrs = {DROPPED: dropped} if dropped else {}
    return flows


def _add(flows: pd.DataFrame) -> pd.DataFrame:
    return flows.groupby(ENDS, sort=False, as_index=False)["weight"].sum()
