"""Archives, unpacked into a folder of their own and nowhere else."""

import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from mora.errors import examples
from mora.sources.fetch_plan import UNFINISHED, FetchError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive; a lone ``.gz`` is none."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path) -> Path:
    """Unpack an archive beside itself, into a folder with its name without the ending.

    Args:
        archive: zip or tar, also compressed.

    Returns:
        The folder; left as it is if it is there, and there only when it is whole.

    Raises:
        FetchError: if the file is no archive, is damaged, holds a path out of the
            folder, a link or a device, or needs more room than the disk has.
    """
    ending = max((e for e in ENDINGS if archive.name.lower().endswith(e)), key=len)
    folder = archive.with_name(archive.name[: -len(ending)])
    if folder.is_dir():
        return folder
    work = archive.with_name(folder.name + UNFINISHED)
    shutil.rmtree(work, ignore_errors=True)
    try:
        if ending == ".zip":
            _unpack_zip(archive, work)
        else:
            _unpack_tar(archive, work)
        work.rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(
            f"{archive} cannot be unpacked ({error}); expected a whole archive. "
            f"Remove it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _unpack_zip(archive: Path, work: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_paths(archive, [member.filename for member in members])
        _check_room(archive, sum(member.file_size for member in members))
        file.extractall(work)


def _unpack_tar(archive: Path, work: Path) -> None:
    with tarfile.open(archive) as file:
        members = file.getmembers()
        _check_paths(archive, [member.name for member in members])
        odd = [m.name for m in members if not (m.isfile() or m.isdir())]
        if odd:
            raise FetchError(
                f"{archive} holds {len(odd)} links or devices ({examples(odd)}); "
                f"expected plain files. Unpack it by hand, if you trust it."
            )
        _check_room(archive, sum(member.size for member in members))
        file.extractall(work, filter="data")


def _check_paths(archive: Path, names: Sequence[str]) -> None:
    """Refuse absolute paths and those that climb, before anything is written."""
    # A Windows path knows both kinds of slash, and drives.
    paths = {name: PureWindowsPath(name) for name in names}
    bad = [n for n, path in paths.items() if path.anchor or ".." in path.parts]
    if bad:
        raise FetchError(
            f"{archive} holds {len(bad)} of {len(names)} paths that lead out of its "
            f"folder ({examples(bad)}); expected paths inside. Nothing was unpacked; "
            f"do not trust this file."
        )


def _check_room(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise FetchError(
            f"{archive} unpacks to {needed} bytes and the disk has {free}; expected "
            f"room for all. Make room, or choose another folder."
        )
