"""The tables everything shares: read, checked, and reported on row by row."""

from mora.tables.area_files import read_areas
from mora.tables.areas import check_areas
from mora.tables.checks import (
    check_flows,
    check_known,
    check_labels,
    check_places,
    check_rows,
)
from mora.tables.labels import read_labels
from mora.tables.reading import (
    Source,
    column_names,
    count_rows,
    read_batches,
    read_frame,
)
from mora.tables.report import Problem, TableReport
from mora.tables.visits import check_visits, hash_users, iso_weeks

__all__ = [
    "Problem",
    "Source",
    "TableReport",
    "check_areas",
    "check_flows",
    "check_known",
    "check_labels",
    "check_places",
    "check_rows",
    "check_visits",
    "column_names",
    "count_rows",
    "hash_users",
    "iso_weeks",
    "read_areas",
    "read_batches",
    "read_frame",
    "read_labels",
]
