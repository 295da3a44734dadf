"""What each year of the HuMob challenge wants of a submission."""

from collections.abc import Mapping
from dataclasses import dataclass

from mora.errors import MoraError


@dataclass(frozen=True)
class Rules:
    """What the challenge of one year wants.

    Attributes:
        parts: tasks or cities, one file each, as they stand in the file's name.
        name: of a file, with ``{team}`` and ``{part}``.
        zipped: whether the file has to be gzipped; otherwise it may be.
        first_day: number of the first day in the files.
        predicted: first and last day to be predicted, numbered as in the files.
        variant: of the metrics.
    """

    parts: tuple[str, ...]
    name: str
    zipped: bool
    first_day: int
    predicted: tuple[int, int]
    variant: str


# Sources: validator.py and README.md of github.com/yahoojapan/geobleu in the versions
# of each year (columns, days, slots, cells, a header that may be left out, the masked
# events in their order); sigspatial2025.sigspatial.org/giscup/submit.html (cities,
# name and .csv.gz of 2025). The names of 2023 and 2024 are those that teams published.
RULES: Mapping[str, Rules] = {
    "humob2023": Rules(
        parts=("task1", "task2"),
        name="{team}_{part}_humob.csv",
        zipped=False,
        first_day=0,
        predicted=(60, 74),
        variant="humob2024",  # the same metrics as a year later
    ),
    "humob2024": Rules(
        parts=("cityB", "cityC", "cityD"),
        name="{team}_{part}_humob.csv",
        zipped=False,
        first_day=0,
        predicted=(60, 74),
        variant="humob2024",
    ),
    "giscup2025": Rules(
        parts=("cityA", "cityB", "cityC", "cityD"),
        name="{team}_{part}_humob25.csv",
        zipped=True,
        first_day=1,
        predicted=(61, 75),
        variant="giscup2025",
    ),
}


def find_rules(name: str) -> Rules:
    """Look the rules of a year up.

    Raises:
        MoraError: if there are none of that name.
    """
    if name not in RULES:
        raise MoraError(f"no rules {name!r}; expected one of {list(RULES)}.")
    return RULES[name]
