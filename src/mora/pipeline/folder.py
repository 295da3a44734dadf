"""A run is a folder: each stage leaves its files and a manifest, or nothing."""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from mora.errors import RunError

MANIFEST = "manifest.json"
CONFIG = "config.json"  # what the run was last told
STARTED = "started.json"
LAYOUT = 4  # of the files in a run folder; another number makes every stage stale
PACKAGES = ("mora", "numpy", "torch", "numba", "lightgbm", "h3ronpy", "pyarrow")


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage within a run.

    Attributes:
        path: where the stage writes.
        fingerprint: of everything that its result depends on.
        products: files that it may leave beside its folder.
    """

    path: Path
    fingerprint: str
    products: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any] | None:
        """Give the manifest if the stage is done with this fingerprint, else None."""
        manifest = self._any_manifest()
        if manifest.get("fingerprint") != self.fingerprint:
            return None
        whole = _sizes(self.path, manifest["files"]) == manifest["files"]
        products = manifest["products"]
        whole &= _sizes(self.path.parent, products) == products
        return manifest if whole else None

    def other_layout(self) -> int | str | None:
        """Give the layout that the folder was written in, if it is not today's."""
        manifest = self._any_manifest()
        layout = manifest.get("layout", "1 or 2")  # which these did not say
        return layout if manifest and layout != LAYOUT else None

    def _any_manifest(self) -> dict[str, Any]:
        """Give the manifest, whatever the work was; nothing where there is none."""
        manifest = read_json(self.path / MANIFEST)
        return manifest if isinstance(manifest, dict) else {}

    def take_from(self, run: Path) -> bool:
        """Take the finished result of the same work from another run's folder.

        Files are linked where the system can, and copied elsewhere; a stage that leaves
        products beside its folder is not taken.

        Args:
            run: folder of the other run.

        Returns:
            Whether it was there.
        """
        other = StageFolder(run / self.path.name, self.fingerprint, self.products)
        if self.products or other.manifest() is None:
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        part = self.path.with_name(self.path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(other.path, part, copy_function=_link_or_copy)
        part.rename(self.path)
        return True

    def begin(self) -> None:
        """Make the folder ready; what an earlier try of the same work left stays.

        Work on other inputs or settings is cleared away first, and so are products.
        """
        started = read_json(self.path / STARTED) or {}
        if started.get("fingerprint") != self.fingerprint:
            shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        products = (self.path.parent / name for name in self.products)
        for file in (self.path / MANIFEST, *products):
            file.unlink(missing_ok=True)
        write_json(self.path / STARTED, {"fingerprint": self.fingerprint})

    def finish(
        self,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
        cost: Mapping[str, float],
    ) -> dict[str, Any]:
        """Write the manifest, which marks the stage as done.

        Args:
            settings: the parts of the configuration that the stage depends on.
            inputs: checksums of its files and frames.
            facts: what it found.
            cost: ``seconds`` and ``peak_mb`` (10^6 bytes) that it took; NaN where the
                system does not tell.
        """
        files = [
            str(file.relative_to(self.path))
            for file in sorted(self.path.rglob("*"))
            if file.name not in (MANIFEST, STARTED)
        ]
        known = {k: round(v, 3) if isfinite(v) else None for k, v in cost.items()}
        manifest = {
            "layout": LAYOUT,
            "fingerprint": self.fingerprint,
            "settings": settings,
            "inputs": inputs,
            "versions": versions(),
            "facts": facts,
            **known,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": _sizes(self.path, files),
            "products": _sizes(self.path.parent, self.products),
        }
        write_json(self.path / MANIFEST, manifest)
        return manifest


def _link_or_copy(source: str, target: str) -> None:
    """Link a file that nobody changes; copy it where links do not reach."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sizes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Give the bytes of each file that is there."""
    places = {name: folder / name for name in names}
    return {name: p.stat().st_size for name, p in places.items() if p.is_file()}


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that shape the numbers."""
    found = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **found}


def fingerprint(content: Any) -> str:
    """Give a short hash of plain values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_checksum(path: Path) -> str:
    """Give the BLAKE2b hash of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def frame_checksum(frame: pd.DataFrame) -> str:
    """Give a hash of a frame's column names and values, whatever its index."""
    digest = hashlib.blake2b(repr(list(frame.columns)).encode(), digest_size=16)
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file; None where there is none or it is torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically.

    Raises:
        RunError: if the disk does not take it.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(content, indent=1, default=str) + "\n")
        part.replace(path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error}); expected space and permission. What "
            f"earlier stages wrote is intact: free some space and start again."
        ) from error
