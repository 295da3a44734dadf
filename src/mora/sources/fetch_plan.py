"""What to fetch: addresses, file names and, where published, checksums."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mora.errors import ConfigError, MoraError, examples

SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it
UNFINISHED, CHANGED = ".part", ".changed"
THIS_COMPUTER = "127.0.0.1"  # the one host that may speak http


class FetchError(MoraError):
    """Files that are missing, changed, or not allowed to be fetched."""


@dataclass(frozen=True)
class FetchFile:
    """One file to fetch.

    Attributes:
        address: where it is; https.
        name: its name in the folder, without a path.
        sha256: of its content, 64 hexadecimal digits, if the publisher gives it.
        size_mb: about; None if not known.
    """

    address: str
    name: str
    sha256: str | None = None
    size_mb: float | int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "FetchFile":
        """Read one entry of a list of files; the name is the address's if not given.

        Raises:
            ConfigError: if it has no address, or a key that does not exist.
        """
        unknown = set(options) - set(cls.__dataclass_fields__)
        if unknown or "address" not in options:
            raise ConfigError(
                f"file to fetch {dict(options)}; expected `address` and optionally "
                f"`name`, `sha256` and `size_mb`, nothing else."
            )
        last = PurePosixPath(urlsplit(options["address"]).path).name
        return cls(**{"name": last, **options})


def check_plan(files: Sequence[FetchFile]) -> None:
    """Refuse a plan that would leave its folder, overwrite itself or use plain http.

    Args:
        files: the plan.

    Raises:
        FetchError: if there are no files, or an address, a name or a checksum is not
            allowed, or two files have one name.
    """
    if not files:
        raise FetchError("no files to fetch; expected at least one.")
    for file in files:
        check_address(file.address)
        _check_name(file.name)
        if file.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", file.sha256):
            raise FetchError(
                f"{file.name}: sha256 {file.sha256!r}; expected 64 hexadecimal digits."
            )
    # Upper and lower case are the same file on some disks.
    names = [file.name.casefold() for file in files]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FetchError(
            f"{len(repeated)} file names come twice ({examples(repeated)}); expected "
            f"one file a name. Give a `name` of its own to each."
        )


def check_address(address: str) -> None:
    """Refuse an address that is not https; this computer may speak http.

    Raises:
        FetchError: if it is anything else.
    """
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname == THIS_COMPUTER
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise FetchError(
            f"address {address!r}; expected one that begins with https://. Ask the "
            f"publisher for it, or fetch the file by hand."
        )


def _check_name(name: str) -> None:
    ours = name == SUMS or name.endswith((UNFINISHED, CHANGED))
    if ours or name.startswith(".") or not re.fullmatch(r"[^/\\:\0]+", name):
        raise FetchError(
            f"file name {name!r}; expected a plain name in the folder, without / or "
            f"\\, not beginning with a dot, and not {SUMS}, *{UNFINISHED} or "
            f"*{CHANGED}, which are kept for fetching itself."
        )


@dataclass(frozen=True)
class Fetchable:
    """Files of a publisher, whose addresses follow from a few options.

    Attributes:
        files: gives the plan; its parameters are the options.
        about: what it is, in a line.
        licence: as the publisher names it; empty where none is named.
        home: the publisher's page.
    """

    files: Callable[..., list[FetchFile]]
    about: str
    licence: str
    home: str


FETCHABLE: dict[str, Fetchable] = {}

Plan = Callable[..., list[FetchFile]]


def fetchable(
    name: str, *, about: str, licence: str, home: str
) -> Callable[[Plan], Plan]:
    """Register a function that gives a plan in :data:`FETCHABLE`.

    Args:
        name: what users call it.
        about: what it is, in a line.
        licence: as the publisher names it; empty where none is named.
        home: the publisher's page.
    """

    def register(files: Plan) -> Plan:
        FETCHABLE[name] = Fetchable(files, about, licence, home)
        return files

    return register
