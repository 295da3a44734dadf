"""Open data whose addresses are known, and how to get what has no single address."""

import inspect
import re
from pathlib import Path
from typing import Any

import yaml

from mora.errors import ConfigError, MissingFileError
from mora.sources.fetch_plan import FETCHABLE, FetchFile, fetchable
from mora.sources.registry import SOURCES

BY_HAND = {
    "overture_places": (
        "Overture places are cut out by area: pip install overturemaps, then "
        "`overturemaps download --bbox=WEST,SOUTH,EAST,NORTH -f geoparquet "
        "--type=place -o places.parquet`. See https://docs.overturemaps.org."
    ),
    "tsmc2014": (
        "The check-ins of Foursquare (TSMC 2014) are offered over plain http only: "
        "see https://sites.google.com/site/yangdingqi/home/foursquare-dataset."
    ),
    "bge_m3": "The text encoder of the paper: `hf download BAAI/bge-m3`.",
}
"""What this module cannot fetch: name -> how to get it."""

LODES = "https://lehd.ces.census.gov/data/lodes/LODES8"
TLC = "https://d37ci6vzurychx.cloudfront.net"
SNAP = "https://snap.stanford.edu/data"
REMOTE_CLIP = "https://huggingface.co/chendelong/RemoteCLIP/resolve/main"
REMOTE_CLIP_MB = {"ViT-B-32": 605, "ViT-L-14": 1711}


def plan_of(name: str, **options: Any) -> list[FetchFile]:
    """Give the plan of a publisher's files.

    Args:
        name: one of :data:`FETCHABLE`.
        options: of that one, such as ``state`` and ``year``.

    Returns:
        Files for :func:`mora.sources.fetch.fetch`.

    Raises:
        ConfigError: if it is not known, has to be got by hand, or the options are not
            its own.
    """
    if name in BY_HAND:
        raise ConfigError(f"{name!r} cannot be fetched here. {BY_HAND[name]}")
    if name not in FETCHABLE:
        if name in SOURCES and SOURCES[name].home:
            raise ConfigError(
                f"{name!r} has no single address; see {SOURCES[name].home}. Fetch it "
                f"by hand, or list the addresses of its files."
            )
        raise ConfigError(
            f"{name!r} is not known; expected one of {', '.join(sorted(FETCHABLE))}. "
            f"Files with an address of their own can be listed instead."
        )
    files = FETCHABLE[name].files
    try:
        inspect.signature(files).bind(**options)
    except TypeError as error:
        wanted = ", ".join(inspect.signature(files).parameters) or "no options"
        raise ConfigError(f"{name!r}: {error}; expected {wanted}.") from error
    return files(**options)


def read_plan(path: Path | str) -> list[FetchFile]:
    """Read a plan from a YAML file with a list under ``files:``.

    Each entry is a file of its own (``address``, optionally ``name``, ``sha256`` and
    ``size_mb``) or the files of a publisher (``publisher: lodes`` and its options).

    Args:
        path: of the file; other keys beside ``files`` are left alone.

    Returns:
        Files for :func:`mora.sources.fetch.fetch`.

    Raises:
        MissingFileError: if there is no file.
        ConfigError: if it has no such list, or an entry cannot be followed.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, "plan of files to fetch")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}. Mend it there.") from error
    entries = content.get("files") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ConfigError(
            f"{path}: expected a list under `files:`, of entries with `address` or "
            f"`publisher`."
        )
    return [file for entry in entries for file in _files_of(entry)]


def _files_of(entry: dict[str, Any]) -> list[FetchFile]:
    if "publisher" not in entry:
        return [FetchFile.from_options(entry)]
    options = {str(key): value for key, value in entry.items() if key != "publisher"}
    return plan_of(entry["publisher"], **options)


@fetchable(
    "lodes",
    about="Commuters between census blocks of one state, and where the blocks are.",
    licence="public domain (United States government work)",
    home="https://lehd.ces.census.gov/data/",
)
def lodes_files(state: str, year: int | str, part: str = "main") -> list[FetchFile]:
    """Give the flows of a state and year, and the crosswalk with the blocks' places.

    Args:
        state: two lower-case letters, such as ``de``.
        year: such as 2021; not every state has every year.
        part: ``main`` for those who live and work in the state, ``aux`` for those who
            only work there.
    """
    _check_state(state, year)
    _check("part", part, r"main|aux", "main or aux")
    flows = f"{state}_od_{part}_JT00_{year}.csv.gz"
    crosswalk = f"{state}_xwalk.csv.gz"
    return [
        FetchFile(f"{LODES}/{state}/od/{flows}", flows),
        FetchFile(f"{LODES}/{state}/{crosswalk}", crosswalk),
    ]


@fetchable(
    "lodes_workers",
    about="Jobs of one state by census block of work, and where the blocks are.",
    licence="public domain (United States government work)",
    home="https://lehd.ces.census.gov/data/",
)
def lodes_workers_files(state: str, year: int | str) -> list[FetchFile]:
    """Give the jobs of a state and year, and the crosswalk with the blocks' places.

    Args:
        state: two lower-case letters, such as ``de``.
        year: such as 2021; not every state has every year.
    """
    _check_state(state, year)
    jobs = f"{state}_wac_S000_JT00_{year}.csv.gz"
    crosswalk = f"{state}_xwalk.csv.gz"
    return [
        FetchFile(f"{LODES}/{state}/wac/{jobs}", jobs),
        FetchFile(f"{LODES}/{state}/{crosswalk}", crosswalk),
    ]


@fetchable(
    "nyc_tlc",
    about="Yellow taxi trips of one month between New York's taxi zones.",
    licence="",
    home="https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page",
)
def nyc_tlc_files(month: str) -> list[FetchFile]:
    """Give the trips of a month, the names of the zones and their outlines.

    Args:
        month: such as ``2024-01``; published about two months later.
    """
    _check("month", month, r"20\d\d-(0[1-9]|1[0-2])", "a month such as 2024-01")
    trips = f"yellow_tripdata_{month}.parquet"
    return [
        FetchFile(f"{TLC}/trip-data/{trips}", trips, size_mb=50),
        FetchFile(f"{TLC}/misc/taxi_zone_lookup.csv", "taxi_zone_lookup.csv"),
        FetchFile(f"{TLC}/misc/taxi_zones.zip", "taxi_zones.zip", size_mb=1),
    ]


@fetchable(
    "gowalla",
    about="Check-ins of Gowalla, February 2009 to October 2010.",
    licence="",
    home="https://snap.stanford.edu/data/loc-gowalla.html",
)
def gowalla_files() -> list[FetchFile]:
    """Give the check-ins (the friendships are left out)."""
    name = "loc-gowalla_totalCheckins.txt.gz"
    return [FetchFile(f"{SNAP}/{name}", name)]


@fetchable(
    "brightkite",
    about="Check-ins of Brightkite, April 2008 to October 2010.",
    licence="",
    home="https://snap.stanford.edu/data/loc-brightkite.html",
)
def brightkite_files() -> list[FetchFile]:
    """Give the check-ins (the friendships are left out)."""
    name = "loc-brightkite_totalCheckins.txt.gz"
    return [FetchFile(f"{SNAP}/{name}", name)]


@fetchable(
    "uk_od",
    about="England and Wales, census 2021: homes and places of work (ODWP01EW).",
    licence="Open Government Licence v3.0",
    home="https://www.nomisweb.co.uk/sources/census_2021_od",
)
def uk_od_files() -> list[FetchFile]:
    """Give the archive with one table per kind of area."""
    address = "https://www.nomisweb.co.uk/output/census/2021/odwp01ew.zip"
    return [FetchFile(address, "odwp01ew.zip", size_mb=81)]


@fetchable(
    "remote_clip",
    about="Weights of RemoteCLIP, the image encoder of the paper.",
    licence="",
    home="https://huggingface.co/chendelong/RemoteCLIP",
)
def remote_clip_files(model: str = "ViT-L-14") -> list[FetchFile]:
    """Give the weights for the modality ``remote_clip``.

    Args:
        model: ``ViT-L-14`` (768 numbers) or ``ViT-B-32`` (512).
    """
    _check("model", model, "|".join(REMOTE_CLIP_MB), " or ".join(REMOTE_CLIP_MB))
    name = f"RemoteCLIP-{model}.pt"
    return [
        FetchFile(f"{REMOTE_CLIP}/{name}", name, size_mb=REMOTE_CLIP_MB[model]),
    ]


def _check_state(state: str, year: int | str) -> None:
    _check("state", state, r"[a-z]{2}", "two lower-case letters such as de")
    _check("year", year, r"20\d\d", "a year such as 2021")


def _check(option: str, value: Any, pattern: str, expected: str) -> None:
    if not re.fullmatch(pattern, str(value)):
        raise ConfigError(f"{option} {value!r}; expected {expected}.")
