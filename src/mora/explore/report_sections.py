"""Parts of a report made from results, figures included."""

import math

import numpy as np

from mora.benchmark.representativeness import GroupShare, Representativeness
from mora.explore.figures import ablation_bars, as_svg
from mora.explore.report_parts import (
    Illustration,
    RepresentativenessSection,
    Table,
)

MOST_BARS = 60  # groups that one figure shows


def representativeness_section(
    found: Representativeness,
) -> RepresentativenessSection:
    """Show where users live beside where people live.

    Args:
        found: from :func:`mora.benchmark.representativeness.representativeness`.

    Returns:
        A sentence, a table for each grouping, and its ratios as bars.
    """
    groupings = dict.fromkeys(row.grouping for row in found.groups)
    rows = {name: [r for r in found.groups if r.grouping == name] for name in groupings}
    left_out = (
        f" {found.homes_elsewhere:,.0f} users live where the population is not known "
        f"and are left out."
        if found.homes_elsewhere
        else ""
    )
    return RepresentativenessSection(
        remark=f"{found.homes:,.0f} homes of users and {found.people:,.0f} people over "
        f"{found.places:,} places: correlation {_number(found.pearson)} (Pearson), "
        f"{_number(found.spearman)} (Spearman). {found.dissimilarity:.1%} of the users "
        f"would have to live elsewhere to be spread as people are.{left_out}",
        tables=[_table(name, group) for name, group in rows.items()],
        figures=[_bars(name, group[:MOST_BARS]) for name, group in rows.items()],
    )


def _table(grouping: str, rows: list[GroupShare]) -> Table:
    return Table(
        f"Users and people by {grouping}; a ratio below 1 means too few users",
        (grouping, "users", "people", "share of users", "share of people", "ratio"),
        [
            (
                row.group,
                f"{row.homes:,.0f}",
                f"{row.people:,.0f}",
                f"{row.share_of_homes:.1%}",
                f"{row.share_of_people:.1%}",
                _number(row.ratio),
            )
            for row in rows
        ],
    )


def _bars(grouping: str, rows: list[GroupShare]) -> Illustration:
    ratios = np.array([row.ratio for row in rows])
    figure = ablation_bars(
        [row.group for row in rows],
        ratios,
        np.full(len(rows), np.nan),
        title=f"Users by {grouping}",
        xlabel="share of users / share of people (1 is fair)",
        labels=("ratio", ""),
    )
    known = [row for row in rows if not math.isnan(row.ratio)]
    alt = f"Bars of the ratio of users to people by {grouping}."
    if known:
        low = min(known, key=lambda row: row.ratio)
        high = max(known, key=lambda row: row.ratio)
        alt += f" Lowest: {low.group}, {low.ratio:.2f}."
        alt += f" Highest: {high.group}, {high.ratio:.2f}."
    return Illustration(as_svg(figure), alt)


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.2f}"
