"""Folders of personal data: marked, so that what is shared can refuse them."""

from pathlib import Path

from mora.errors import PersonalDataError

MARKER = "PERSONAL"


def mark_personal(folder: Path, note: str) -> Path:
    """Make a folder, and mark it as holding personal data.

    Args:
        folder: made if it is missing.
        note: what is in it and what to do with it; becomes the text of the marker.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(note)
    return folder


def require_not_personal(path: Path) -> None:
    """Refuse a file or folder that lies in a folder of personal data.

    Args:
        path: need not exist.

    Raises:
        PersonalDataError: naming the marker.
    """
    for folder in (path, *path.resolve().parents):
        if (folder / MARKER).is_file():
            raise PersonalDataError(path, folder / MARKER)
