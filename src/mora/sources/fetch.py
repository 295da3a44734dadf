"""Fetch what a plan names: resumed, checked, and never written over."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mora.errors import ConfigError
from mora.progress import Progress, silent
from mora.sources.download import Patience, download, remote_size
from mora.sources.fetch_plan import (
    CHANGED,
    SUMS,
    UNFINISHED,
    FetchError,
    FetchFile,
    check_plan,
)
from mora.sources.unpack import is_archive, unpack

MB = 1e6


@dataclass(frozen=True)
class Fetched:
    """What became of one file.

    Attributes:
        name: in the folder.
        address: where it comes from.
        status: ``fetched``, ``kept`` (was there), ``missing`` or ``changed``; of a dry
            run ``kept`` or ``to fetch``.
        size: bytes; of a file to fetch what the server or the plan says, None if
            neither does.
        sha256: of the file that is there; None without one.
        note: why it is missing or changed; empty otherwise.
    """

    name: str
    address: str
    status: str
    size: int | None = None
    sha256: str | None = None
    note: str = ""


class IncompleteFetchError(FetchError):
    """A plan of which some files are missing or changed; ``rows`` has all of it."""

    def __init__(self, rows: Sequence[Fetched], folder: Path):
        """List every file that is not as it should be."""
        bad = [row for row in rows if row.status in ("missing", "changed")]
        lines = [f"  {row.name}: {row.note} ({row.address})" for row in bad]
        super().__init__(
            f"{len(bad)} of {len(rows)} files are missing or changed; the others are "
            f"in {folder}. Start again to go on from here, or put the files there by "
            f"hand:\n" + "\n".join(lines)
        )
        self.rows = list(rows)


def fetch(
    plan: Sequence[FetchFile],
    folder: Path | str,
    *,
    dry_run: bool = False,
    ask_sizes: bool = False,
    unpack_archives: bool = False,
    attempts: int = 5,
    wait_seconds: float | int = 1.0,
    timeout_seconds: float | int = 60.0,
    progress: Progress = silent,
) -> list[Fetched]:
    """Fetch the files of a plan that are not there yet.

    The checksum of each file is written to ``SHA256SUMS`` in the folder when it is
    first there (``sha256sum --check`` reads it), and checked each time after. A file
    that differs from it is named and left alone; what a server sends instead of a
    known file is kept beside its place as ``NAME.changed``.

    Args:
        plan: see :func:`mora.sources.fetchable.plan_of`.
        folder: where files go; made if it is not there.
        dry_run: only list files, sizes and addresses; writes nothing, and asks no
            server unless ``ask_sizes``.
        ask_sizes: of a dry run: ask the servers for sizes.
        unpack_archives: once all files are there, unpack zip and tar files, each into
            a folder of its own.
        attempts: in a row that bring nothing new before a file counts as missing, >= 1.
        wait_seconds: before the second attempt, then doubled up to a minute.
        timeout_seconds: without a byte before an attempt counts as failed, > 0.
        progress: called with bytes there and in all, of the file at hand.

    Returns:
        A row per file, in the plan's order.

    Raises:
        FetchError: if the plan or an archive is not allowed.
        ConfigError: if a number is out of range.
        IncompleteFetchError: if files are missing or changed; the others are fetched
            first.
    """
    check_plan(plan)
    if attempts < 1 or wait_seconds < 0 or timeout_seconds <= 0:
        raise ConfigError(
            f"attempts {attempts}, wait_seconds {wait_seconds}, timeout_seconds "
            f"{timeout_seconds}; expected at least 1, at least 0 and above 0."
        )
    folder = Path(folder)
    if dry_run:
        seconds = timeout_seconds if ask_sizes else None
        return [_foresee(file, folder, seconds) for file in plan]
    folder.mkdir(parents=True, exist_ok=True)
    patience = Patience(attempts, wait_seconds, timeout_seconds)
    rows = [_fetch_one(file, folder, patience, progress) for file in plan]
    if any(row.status in ("missing", "changed") for row in rows):
        raise IncompleteFetchError(rows, folder)
    if unpack_archives:
        for row in rows:
            if is_archive(row.name):
                unpack(folder / row.name)
    return rows


def _foresee(file: FetchFile, folder: Path, seconds: float | int | None) -> Fetched:
    """Say what fetching would do; ask for the size if given seconds to do so."""
    path = folder / file.name
    if path.exists():
        return Fetched(file.name, file.address, "kept", path.stat().st_size)
    size = None if seconds is None else remote_size(file.address, seconds)
    if size is None and file.size_mb is not None:
        size = round(file.size_mb * MB)
    return Fetched(file.name, file.address, "to fetch", size)


def _fetch_one(
    file: FetchFile, folder: Path, patience: Patience, progress: Progress
) -> Fetched:
    """Check the file that is there, or get it and put it there."""
    path = folder / file.name
    part = folder / f"{file.name}{UNFINISHED}"
    known = (file.sha256 or read_sums(folder).get(file.name, "")).lower()
    was_there = path.exists()
    if not was_there:
        try:
            download(file.address, part, patience, progress)
        except FetchError as error:
            return Fetched(file.name, file.address, "missing", note=str(error))
    got = _sha256(path if was_there else part)
    if known and got != known:
        note = f"its sha256 is {got}, expected {known}"
        if not was_there:
            part.replace(folder / f"{file.name}{CHANGED}")
            note += (
                f"; what the server sent is in {file.name}{CHANGED}. To accept it, "
                f"take the old line out of {SUMS} (or the plan) and rename it"
            )
        return Fetched(file.name, file.address, "changed", note=note)
    if not was_there:
        part.replace(path)
    _record(folder, file.name, got)
    status = "kept" if was_there else "fetched"
    return Fetched(file.name, file.address, status, path.stat().st_size, got)


def read_sums(folder: Path) -> dict[str, str]:
    """Read the checksums of a folder; none if nothing was fetched to it yet.

    Returns:
        File name -> sha256.
    """
    path = folder / SUMS
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    return {name: digest.lower() for digest, name in pairs}


def _record(folder: Path, name: str, digest: str) -> None:
    """Add a checksum to those of the folder; written whole or not at all."""
    sums = read_sums(folder)
    if sums.get(name) == digest:
        return
    sums[name] = digest
    lines = [f"{sums[key]}  {key}\n" for key in sorted(sums)]
    unfinished = folder / f"{SUMS}{UNFINISHED}"
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(folder / SUMS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
