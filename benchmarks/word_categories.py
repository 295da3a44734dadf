"""Kinds of places that search in words is asked for, and where they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from benchmarks.measure import shared_data
from mora.config import RunConfig, TableInput
from mora.tokens import Tokens

MANY_STUDENTS = 10_000  # enrolled in one ZIP area


@dataclass(frozen=True)
class Category:
    """Places that one searches for.

    Attributes:
        query: the words.
        withheld: names and categories of this pattern are left out of training.
        sought: the withheld names whose cells count as found. Three cells in four hold
            some airfield, so that only airports with scheduled flights are sought. None
            for the ZIP areas with 10,000 students or more, whatever their names.
    """

    query: str
    withheld: str
    sought: str | None

    @property
    def label(self) -> str:
        """Give the words, and what else tells this category from others."""
        return (
            self.query if self.sought else f"{self.query}, {MANY_STUDENTS:,} students"
        )


def same(patterns: dict[str, str]) -> tuple[Category, ...]:
    """Give categories whose withheld names are those that are sought."""
    return tuple(Category(query, names, names) for query, names in patterns.items())


US = (
    Category("international airport", "airport", "international airport|regional air"),
    Category("university", "university|college", "university|college"),
    Category("university", "university|college", None),
    Category("beach", "beach", "beach"),
)
AIRPORT = r"airport|\bjfk\b|la ?guardia|\bewr\b|\blga\b"
NEW_YORK = (
    Category("airport", AIRPORT + r"|\bairlines?\b", AIRPORT),
    *same({"university": "university|college", "beach": "beach"}),
)
# What the ranking was chosen on; none of its names is left to the runs that chose.
US_DEVELOPMENT = same(
    {
        "lake": r"\blakes?\b",
        "island": r"\bisland|\bisle\b",
        "military base": r"air force|\barmy\b|\bnaval\b|\bmarine corps\b|\bafb\b"
        r"|\baaf\b|\bfort\b|national guard",
        "harbor": r"harbor|marina|\bport\b",
        "ski resort": r"\bski\b|\bsnow|aspen|vail\b",
        "dam": r"\bdam\b|reservoir",
        "mine": r"\bmines?\b|mining|quarry|\bcoal\b|copper|gold\b|silver\b",
        "ranch": r"\branch",
        "farm": r"\bfarms?\b",
        "canyon": "canyon",
        "mountain": r"mountain|\bmt\b|\bmount\b|\bpeak\b",
        "church": r"church|chapel|abbey|mission\b",
        "golf club": "golf|country club",
        "hot springs": r"springs?\b",
        "park": r"\bpark\b",
        "prairie": r"prairie|plains?\b",
        "desert": r"desert|sands?\b|cactus|mesa\b",
    }
)
NEW_YORK_DEVELOPMENT = same(
    {
        "hospital": "hospital|medical center",
        "museum": "museum",
        "hotel": r"hotel|hostel|\binn\b",
        "theater": "theat",
        "library": "librar",
        "gym": r"\bgym|fitness",
        "ferry": r"ferry|\bpier\b",
        "cemetery": "cemeter|grave",
        "stadium": r"stadium|arena\b|ballpark",
        "golf course": "golf",
        "zoo": r"\bzoo|aquarium",
        "playground": "playground",
        "supermarket": "supermarket|grocery|market",
        "bank": r"\bbank\b",
        "diner": "diner",
        "fire station": "fire_station|fire dep|engine",
        "storage": "storage|warehouse",
        "court house": "court",
        "synagogue": r"synagogue|congregation|temple\b",
        "mall": r"\bmall\b",
        "garden": "garden",
        "bridge": "bridge",
    }
)


def categories(config: RunConfig, development: bool) -> tuple[Category, ...]:
    """Give what is asked of a run: of New York's check-ins, or of the whole US."""
    if config.mobility.kind == "visits":
        return NEW_YORK_DEVELOPMENT if development else NEW_YORK
    return US_DEVELOPMENT if development else US


def read_places(table: TableInput) -> pd.DataFrame:
    """Read the columns of places that a run is given, under our names."""
    path = Path(table.path)
    frame = pd.read_csv(path) if ".csv" in path.name else pd.read_parquet(path)
    theirs = {theirs: ours for ours, theirs in table.columns.items()}
    return frame.rename(columns=theirs)[list(table.columns)]


def matches(frame: pd.DataFrame, pattern: str) -> Bool[np.ndarray, " rows"]:
    """Say which rows have a name or a category of this pattern, whatever its case."""
    text = pd.Series("", frame.index, dtype="string")
    for _, column in frame.filter(["name", "category"]).items():
        text = text + " " + column.astype("string").fillna("")
    return text.str.contains(pattern, case=False).to_numpy(bool)


def cells_of(
    category: Category, places: pd.DataFrame, tokens: Tokens
) -> Int[np.ndarray, " cells"]:
    """Find the tokens that hold a place of this category."""
    if category.sought is None:
        areas = pd.read_parquet(f"{shared_data('us_zcta')}/us_zcta_acs2022.parquet")
        sought = areas[areas["college_enrollment_total"] >= MANY_STUDENTS]
    else:
        sought = places[matches(places, category.sought)]
    token = tokens.locate(sought[["lon", "lat"]].to_numpy(float))
    return np.unique(token[token >= 0])
