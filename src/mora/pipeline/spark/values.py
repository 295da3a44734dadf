"""What text, numbers and times mean, as Spark expressions.

They read as :mod:`mora.tables.values` and :mod:`mora.tables.visits` do. Of the times,
those know more forms; such a time is refused, not dropped.
"""

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mora.tables.schema import TEXT_COLUMNS

DAY = 86_400_000_000  # microseconds
NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))\s*$"
NO_NUMBER = r"(?i)^\s*(na|n/a|nan|null|none)?\s*$"
BLANK = r"(?U)^[\s\x1c-\x1f]*$"  # Python counts 1c to 1f as spaces, Java does not
DATE = r"^\d{4}([-/])\d{1,2}\1\d{1,2}"
ZONE = r"( ?(Z|[+-]\d{2}(:?\d{2})?))?$"
TO_THE_MINUTE = DATE + r"[T ]\d{1,2}:\d{1,2}" + ZONE
TO_THE_SECOND = DATE + r"[T ]\d{1,2}:\d{1,2}:\d{1,2}(\.\d{0,9})?" + ZONE
COMPACT_DATE = r"^(\d{4})(\d{2})(\d{2})(?=$|[T ])"
BEHIND_DATE = len("2024-05-01") + 1  # only there can a sign begin an offset


def read_column(
    column: Column, name: str, given: T.DataType, stored: pa.DataType
) -> dict[str, Column] | None:
    """Read a column as ids, times or numbers, whichever its name asks for.

    Args:
        column: as in the file.
        name: ours.
        given: its type in Spark.
        stored: its type in the file, which tells times with a zone from others.

    Returns:
        The columns that :func:`mora.pipeline.spark.tables.open_table` describes; None
        if they cannot be read from this type.
    """
    if name in TEXT_COLUMNS:
        return _read_text(column, name, given)
    if name == "time":
        return _read_time(column, given, stored)
    return _read_number(column, name, given)


def is_blank(text: Column) -> Column:
    """Say whether there is no text."""
    return text.isNull() | text.rlike(BLANK)


def floor_divide(value: Column, step: int) -> Column:
    """Divide whole numbers and round down, also below 0."""
    divisor = F.lit(step)
    return F.call_function("div", value - F.pmod(value, divisor), divisor)


def _read_text(
    column: Column, name: str, given: T.DataType
) -> dict[str, Column] | None:
    """Write whole numbers out; the text of others would depend on further rows."""
    whole = isinstance(given, T.IntegralType) or (
        isinstance(given, T.DecimalType) and given.scale == 0
    )
    if whole or isinstance(given, T.StringType):
        return {name: column.cast("string")}
    return None


def _read_number(
    column: Column, name: str, given: T.DataType
) -> dict[str, Column] | None:
    nothing = F.lit(None).cast("string")
    if isinstance(given, T.NumericType):
        value = column.cast("double")
        return {name: F.when(~F.isnan(value), value), f"{name}_unread": nothing}
    if not isinstance(given, T.StringType):
        return None
    read = column.rlike(NUMBER)
    return {
        name: F.when(read, column.try_cast("double")),
        f"{name}_unread": F.when(~read & ~column.rlike(NO_NUMBER), column),
    }


def _read_time(
    column: Column, given: T.DataType, stored: pa.DataType
) -> dict[str, Column] | None:
    """Give microseconds, whether they are in UTC, and how they are written."""
    if isinstance(given, T.StringType):
        time = _parse_time(column)
        zoned = F.substring(column, BEHIND_DATE, 99).rlike("[Z+-]")
        return {"time": time, "time_zoned": zoned, "time_text": column}
    if isinstance(given, T.DateType):
        time = F.unix_date(column) * F.lit(DAY)
    elif not pa.types.is_timestamp(stored):
        return None
    elif isinstance(given, T.LongType):  # Spark knows no nanoseconds
        time = floor_divide(column, 1000)
    else:
        time = F.unix_micros(column.cast("timestamp"))
    zoned = F.lit(pa.types.is_timestamp(stored) and stored.tz is not None)
    text = column.cast("string")
    return {"time": time.cast("long"), "time_zoned": zoned, "time_text": text}


def _parse_time(text: Column) -> Column:
    """Read ISO 8601 in the forms that Spark is brought to read as pandas does."""
    dashed = F.regexp_replace(text, COMPACT_DATE, "$1-$2-$3")
    plain = F.translate(dashed, "/", "-")
    with_seconds = F.regexp_replace(plain, r"^([-\d]+.[\d:]+)", "$1:00")
    known = (
        F.when(dashed.rlike(TO_THE_SECOND), plain)
        .when(dashed.rlike(TO_THE_MINUTE), with_seconds)
        .when(dashed.rlike(DATE + "$"), plain)
    )
    return F.unix_micros(known.try_cast("timestamp"))
