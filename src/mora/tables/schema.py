"""The columns of each table: what must be mapped, what may be."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from mora.errors import TableError

TEXT_COLUMNS = frozenset(
    {"user", "id", "token", "origin", "destination", "name", "category"}
)


@dataclass(frozen=True)
class Schema:
    """The columns of one kind of table.

    Attributes:
        groups: from each group at least one alternative must be there in full; an
            alternative lists its columns with spaces between them.
        optional: further columns with a meaning.
        values: whether any other column is welcome, as a value.
    """

    groups: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()
    values: bool = False

    def names(self) -> list[str]:
        """List every column that has a meaning."""
        grouped = [name for group in self.groups for name in " ".join(group).split()]
        return [*grouped, *self.optional]


POINT_ENDS = "origin_lon origin_lat destination_lon destination_lat"
SCHEMAS = {
    "visits": Schema((("user",), ("time", "week"), ("lon lat", "token"))),
    "flows": Schema((("origin destination", POINT_ENDS),), optional=("weight",)),
    "places": Schema((("lon lat",), ("name", "category")), optional=("id",)),
    "areas": Schema((("id",), ("geometry", "lon lat population"))),
    "labels": Schema((("id", "lon lat"),), values=True),
    "rows": Schema((("id", "lon lat"),), optional=("weight",), values=True),
}


def require_columns(columns: Collection[str], kind: str) -> None:
    """Refuse columns that cannot make a table of this kind.

    Args:
        columns: our names.
        kind: a key of :data:`SCHEMAS`; any other word has no fixed columns.

    Raises:
        TableError: if a needed column is missing.
    """
    if kind not in SCHEMAS:
        return
    for group in SCHEMAS[kind].groups:
        if not any(set(choice.split()) <= set(columns) for choice in group):
            wanted = " or ".join(choice.replace(" ", " + ") for choice in group)
            raise TableError(
                f"{kind} need {wanted}; got the columns {', '.join(columns) or 'none'}."
                f" Map them under `columns:` (ours: theirs)."
            )


def refuse_unknown_columns(columns: Collection[str], kind: str) -> None:
    """Refuse a mapping that names a column without a meaning, a slip of the pen.

    Args:
        columns: our names.
        kind: a key of :data:`SCHEMAS`; any other word has no fixed columns.

    Raises:
        TableError: if there is such a column and the table takes no values.
    """
    if kind not in SCHEMAS or SCHEMAS[kind].values:
        return
    names = SCHEMAS[kind].names()
    for name in columns:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise TableError(
                f"{kind} have no column {name!r}; expected some of {', '.join(names)}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
