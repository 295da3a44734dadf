"""The stated period beside the days that the records are of."""

from datetime import date

from mora.errors import ConfigError

Days = tuple[date, date]  # the first and the last


def require_overlap(period: Days, records: Days | None) -> None:
    """Refuse a period in which there is no record.

    Args:
        period: that is stated.
        records: first and last day of the run's records; None if not known.

    Raises:
        ConfigError: with both, if they do not overlap.
    """
    if records is not None and (period[1] < records[0] or records[1] < period[0]):
        raise ConfigError(
            f"period is {_said(period)}, but the records of the run are of "
            f"{_said(records)}; expected a period that they are in. Correct `period`."
        )


def describe_period(period: Days, records: Days | None) -> str:
    """Say the period, and the days of the records where some lie outside.

    Args:
        period: that is stated.
        records: first and last day of the run's records; None if not known.
    """
    if records is None or (period[0] <= records[0] and records[1] <= period[1]):
        return _said(period)
    return f"{_said(period)} as stated, from records of {_said(records)}"


def _said(days: Days) -> str:
    return f"{days[0]} to {days[1]}"
