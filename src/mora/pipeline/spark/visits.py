"""Visits in Spark: cleaned, hashed and brought to user, week and place."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mora.config import TokensConfig, VisitsMobility
from mora.errors import MissingColumnError, TableError, examples
from mora.pipeline.mobility import Bounds
from mora.pipeline.places import PlaceCoder
from mora.pipeline.spark.clocks import add_times, iso_week
from mora.pipeline.spark.places import code_places, count_unknown
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
from mora.pipeline.spark.tables import Table
from mora.tables import TableReport
from mora.tables.report import MOST_EXAMPLES
from mora.tables.schema import require_columns
from mora.tables.visits import PLAUSIBLE_YEARS, _parse_times

UNREAD_TIME = "time is not ISO 8601"
WHAT_A_VISIT_IS = ("user", "utc", "week", "lon", "lat", "token")


def user_weeks(
    table: Table, mobility: VisitsMobility, places: PlaceCoder, secret: str
) -> tuple[DataFrame, TableReport]:
    """Check visits and give the distinct places of each user and week.

    The first projection replaces user ids by hashes; what is sorted, sent between
    workers or kept on their disks comes after it.

    Args:
        table: the opened visits.
        mobility: time zone of the visits.
        places: knows tokens, zones and bounds.
        secret: of this run; never written.

    Returns:
        ``user``, ``week`` and ``code``, no row twice, a user's rows on one worker;
        and the report.

    Raises:
        TableError: if the table is refused, as by
            :func:`mora.tables.check_visits`.
    """
    rows = _with_token(table.rows, places.config)
    require_columns(rows.columns, "visits")
    rules = _rules(rows.columns, mobility.timezone, places.config)
    groups = _group(rows, rules, mobility.timezone, secret)
    groups = groups.persist(StorageLevel.MEMORY_AND_DISK)
    bounds = places.config.bounds if "lon" in groups.columns else None
    findings = Findings("visits", table, groups, _further(bounds))
    _refuse_other_times(groups, rules, findings)
    findings.follow(rules)
    findings.refuse_mostly_bad()
    good = groups.where(F.col("rule") == GOOD)
    _count_good(good, findings, bounds)
    if bounds is not None:
        good = good.where(_inside(bounds))
    codes = code_places(good, places).persist(StorageLevel.MEMORY_AND_DISK)
    unknown = count_unknown(codes, table.source)
    findings.drop("in none of the zones", unknown)
    key = [name for name in ("token", "lon", "lat") if name in codes.columns]
    known = codes.where(F.col("code").isNotNull()).select(*key, "code")
    found = good.join(known, key).select("user", "week", "code")
    # One shuffle by user serves all that follows: repeats, pairs and their users.
    return found.repartition("user").distinct(), findings.report()


def _with_token(rows: DataFrame, config: TokensConfig) -> DataFrame:
    """Turn the x and y of a square grid into ids, as ``PlaceCoder.with_token``."""
    if config.kind != "grid" or "token" in rows.columns:
        return rows
    missing = [name for name in ("x", "y") if name not in rows.columns]
    if missing:
        raise MissingColumnError("visits to a grid", missing, rows.columns)
    token = config.height * (F.col("x") - 1) + F.col("y") - 1
    return rows.withColumn("token", token.cast("string"))


def _rules(
    columns: list[str], timezone: str | None, config: TokensConfig
) -> list[Rule]:
    """List what can be the matter with a visit, in the order of the embedded checks."""
    rules = line_rules()
    if "x" in columns:
        rules += _grid_rules(config)
    rules.append(blank_rule("user"))
    if "token" in columns:
        rules.append(blank_rule("token"))
    if "lon" in columns:
        rules += coordinate_rules()
    if "week" in columns:
        week = F.col("week")
        whole = week.isNotNull() & (F.abs(week) < 2**53) & (week == F.round(week))
        rules.append(unread_rule("week"))
        rules.append(Rule("week is not a whole number", ~whole, ("week",)))
    if "time" in columns:
        rules += _time_rules(timezone)
    return rules


def _grid_rules(config: TokensConfig) -> list[Rule]:
    x, y, both = F.col("x"), F.col("y"), ("x", "y")
    whole = (x == F.round(x)) & (y == F.round(y))
    inside = x.between(1, config.width) & y.between(1, config.height)
    hint = (
        f"Expected columns 1..{config.width} and rows 1..{config.height} of the grid, "
        f"as `tokens:` has it."
    )
    return [
        Rule("no whole x and y", ~F.coalesce(whole, F.lit(False)), both, hint),
        Rule("outside the grid", ~inside, both, hint),
    ]


def _time_rules(timezone: str | None) -> list[Rule]:
    years = np.array([PLAUSIBLE_YEARS.start, PLAUSIBLE_YEARS.stop]) - 1970
    first, end = years.astype("datetime64[Y]").astype("datetime64[us]").astype(int)
    time, shown = F.col("time"), ("time_text",)
    odd = (time < F.lit(int(first))) | (time >= F.lit(int(end)))
    rules = [
        Rule("no time", F.col("time_text").isNull()),
        Rule(UNREAD_TIME, time.isNull(), shown),
        Rule("time before 1900 or after 2199", odd, shown),
    ]
    if timezone is None:
        hint = (
            "Say in which zone they are with `timezone:` in the YAML, such as "
            "Asia/Shanghai or UTC."
        )
        rules.append(Rule("time has no zone", ~F.col("time_zoned"), shown, hint))
    return rules


def _group(
    rows: DataFrame, rules: list[Rule], timezone: str | None, secret: str
) -> DataFrame:
    """Mark the rows, hash the users and put equal rows together.

    Of bad rows, only the rule and the example stay.
    """
    # As a column from a function, the secret stands in no plan and no event log.
    tell = F.udf(lambda: secret, "string").asNondeterministic()
    one = rows.sparkSession.range(1).select(tell().alias("secret"))
    rows = rows.crossJoin(F.broadcast(one))
    if "time" in rows.columns:
        rows = add_times(rows, timezone)
        if "week" not in rows.columns:
            rows = rows.withColumn("week", iso_week(F.col("local")))
    else:
        no = F.lit(False)
        rows = rows.withColumns({"twice": no, "skipped": no})
    rows = mark(rows, rules).withColumn("user", hash_user())
    good = F.col("rule") == GOOD
    kept = [name for name in WHAT_A_VISIT_IS if name in rows.columns]
    notes = [F.col(name).cast("int").alias(name) for name in ("twice", "skipped")]
    values = [F.when(good, F.col(name)).alias(name) for name in kept]
    rows = rows.select("rule", "shown", "swapped", *values, *notes)
    return rows.groupBy("rule", "shown", "swapped", *kept).agg(
        F.count("*").alias("n"),
        F.sum("twice").alias("twice"),
        F.sum("skipped").alias("skipped"),
    )


def hash_user() -> Column:
    """Replace ``user`` by 64 bits of SHA-256 under ``secret``."""
    digest = F.sha2(F.concat("secret", "user"), 256)
    return F.conv(F.substring(digest, 1, 16), 16, -10).cast("long")


def _further(bounds: Bounds | None) -> dict[str, Column]:
    """Say what to add up over good rows for :func:`_count_good`."""
    further = {name: F.sum(name) for name in ("twice", "skipped")}
    if bounds is None:
        return further
    outside = ~_inside(bounds)
    swapped = outside & _inside(bounds, lon="lat", lat="lon")
    return further | {"outside": F.count_if(outside), "turned": F.count_if(swapped)}


def _count_good(good: DataFrame, findings: Findings, bounds: Bounds | None) -> None:
    """Count moved clocks, repeated rows and rows outside the study area."""
    counts = findings.good
    findings.note("clock time occurs twice, the first is taken", counts["twice"])
    findings.note("clock time is skipped, moved forward", counts["skipped"])
    findings.drop("repeats an earlier row", counts["n"] - counts["groups"])
    if bounds is None or counts["outside"] == 0:
        return
    if counts["turned"] > counts["groups"] / 2:
        west, _, east, _ = bounds
        raise TableError(
            f"{counts['turned']:,} of {counts['groups']:,} visits lie in the study "
            f"area only with lon and lat swapped; expected longitudes "
            f"{west:g}..{east:g}. Swap the two under `columns:`."
        )
    lost = good.where(~_inside(bounds)).select("lon", "lat").orderBy("lon", "lat")
    first = lost.limit(MOST_EXAMPLES).collect()
    shown = tuple(f"lon {lon:.4f}, lat {lat:.4f}" for lon, lat in first)
    findings.drop("outside the study area", counts["outside"], shown)


def _inside(bounds: Bounds, lon: str = "lon", lat: str = "lat") -> Column:
    west, south, east, north = bounds
    return F.col(lon).between(west, east) & F.col(lat).between(south, north)


def _refuse_other_times(
    groups: DataFrame, rules: list[Rule], findings: Findings
) -> None:
    """Refuse times that the embedded engine would read and this one does not.

    Raises:
        TableError: with some of them.
    """
    number = next((n for n, rule in enumerate(rules) if rule.name == UNREAD_TIME), GOOD)
    if number == GOOD or number not in findings.counts:
        return
    unread = groups.where(F.col("rule") == number).select(F.col("shown")[0])
    found = unread.distinct().rdd.mapPartitions(readable_times).take(MOST_EXAMPLES + 1)
    if found:
        raise TableError(
            f"{findings.source}: engine spark cannot read times such as "
            f"{examples(found)}. Expected ISO 8601 such as 2024-05-01T13:45:00+08:00, "
            f"or timestamps; convert them, or use `engine: embedded`."
        )


def readable_times(rows: Iterable[Any]) -> Iterator[str]:
    """Give the texts that the embedded engine would read; runs on the workers."""
    texts = pd.Series([row[0] for row in rows], dtype="str")
    if len(texts):
        times, _ = _parse_times(texts)
        yield from texts[times.dt.year.isin(PLAUSIBLE_YEARS)]
