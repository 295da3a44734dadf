"""Flows added up by Spark, in the order and rounding of the embedded engine."""

import shutil
from functools import reduce
from pathlib import Path

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mora.config import FlowsMobility, GravityMobility
from mora.pipeline.flows import ENDS
from mora.pipeline.inputs import RunContext
from mora.pipeline.spark.rules import (
    GOOD,
    Findings,
    Rule,
    blank_rule,
    coordinate_rules,
    line_rules,
    mark,
    unread_rule,
)
from mora.pipeline.spark.session import spark_session
from mora.pipeline.spark.tables import Table, fetch, open_table, require_files
from mora.tables import TableReport
from mora.tables.schema import POINT_ENDS


def read_flows(
    context: RunContext, mobility: FlowsMobility | GravityMobility, folder: Path
) -> tuple[pd.DataFrame, TableReport]:
    """Read, check and add up flows, as :func:`mora.tables.check_flows`.

    Args:
        context: the run.
        mobility: where the flows are, and Spark's settings.
        folder: where Spark leaves the sums; driver and workers must share it.

    Returns:
        One row a pair of ends, in the order of their first rows, with the same sums of
        weights to the bit; and the report.
    """
    source = require_files(context.source(mobility.table, "mobility.table"))
    exchange = folder / "spark"
    shutil.rmtree(exchange, ignore_errors=True)
    try:
        with spark_session(mobility.spark, context.display) as spark:
            table = open_table(spark, source, mobility.table.columns, "flows")
            context.display.say("  Spark: checking flows and adding them up")
            return _add_up(table, exchange)
    finally:
        shutil.rmtree(exchange, ignore_errors=True)


def _add_up(table: Table, exchange: Path) -> tuple[pd.DataFrame, TableReport]:
    """Check and sum in Spark, and bring the sums here."""
    named = set(ENDS) <= set(table.rows.columns)
    ends = [*ENDS] if named else POINT_ENDS.split()
    weighed = "weight" in table.rows.columns
    if named:
        places = [*line_rules(), *(blank_rule(end) for end in ends)]
    else:
        both = (coordinate_rules(*ends[:2]), coordinate_rules(*ends[2:]))
        places = [*line_rules(), *both[0], *both[1]]
    weights = _weight_rules(ends) if weighed else []
    groups = _group(table.rows, [*places, *weights], ends, weighed)
    groups = groups.persist(StorageLevel.MEMORY_AND_DISK)
    itself = F.sum(F.when(_goes_nowhere(ends), F.col("n")).otherwise(0))
    findings = Findings("flows", table, groups, {"itself": itself})
    findings.follow(places)
    findings.refuse_mostly_bad()
    findings.follow(weights, first=len(places))
    _note_good(findings, weighed)
    sums = groups.where(F.col("rule") == GOOD).select("first", *ends, "weight")
    flows = fetch(sums, exchange, "first").drop_columns("first").to_pandas()
    return flows, findings.report()


def _weight_rules(ends: list[str]) -> list[Rule]:
    """Refuse weights that cannot be added, and drop those that add nothing."""
    weight, shown = F.col("weight"), ("weight",)
    number = "Expected numbers with a decimal point."
    positive = "Expected weights >= 0; leave rows without a weight out."
    endless = F.abs(weight) == float("inf")
    return [
        unread_rule("weight", number),
        Rule("weight is not a number", endless, shown, number),
        Rule(
            "weight is negative or missing",
            weight.isNull() | (weight < 0),
            shown,
            positive,
        ),
        Rule("weight is 0", weight == 0, tuple(ends)),
    ]


def _group(
    rows: DataFrame, rules: list[Rule], ends: list[str], weighed: bool
) -> DataFrame:
    """Mark the rows and put those of equal ends together; of bad ones, examples."""
    rows = mark(rows, rules)
    good = F.col("rule") == GOOD
    weight = F.col("weight") if weighed else F.lit(1.0)
    part = F.struct("position", weight.alias("weight"))
    values = [F.when(good, F.col(end)).alias(end) for end in ends]
    part = F.when(good, part).alias("part")
    rows = rows.select("rule", "shown", "swapped", "position", *values, part)
    return rows.groupBy("rule", "shown", "swapped", *ends).agg(
        F.count("*").alias("n"),
        F.min("position").alias("first"),
        sum_as_pandas(F.sort_array(F.collect_list("part"))).alias("weight"),
    )


def sum_as_pandas(parts: Column) -> Column:
    """Add ``weight`` of an array in its order, as a grouped sum of pandas does.

    Source: Kahan 1965, Further remarks on reducing truncation errors.
    """

    def add(so_far: Column, part: Column) -> Column:
        step = part["weight"] - so_far["lost"]
        total = so_far["total"] + step
        lost = (total - so_far["total"]) - step
        return F.struct(total.alias("total"), lost.alias("lost"))

    nothing = F.struct(F.lit(0.0).alias("total"), F.lit(0.0).alias("lost"))
    return F.aggregate(parts, nothing, add)["total"]


def _note_good(findings: Findings, weighed: bool) -> None:
    """Count what is remarkable about flows that stay; of a pair, one row is left."""
    if not weighed:
        findings.note("no column of weights, each row counts 1", findings.left)
    pairs = findings.good["groups"]
    findings.note("origin is the destination", findings.good["itself"])
    findings.note("pair of ends repeated, weights summed", findings.left - pairs)
    findings.left = pairs


def _goes_nowhere(ends: list[str]) -> Column:
    """Say whether a flow ends where it begins."""
    half = len(ends) // 2
    same = [F.col(a) == F.col(b) for a, b in zip(ends[:half], ends[half:], strict=True)]
    return reduce(Column.__and__, same)
