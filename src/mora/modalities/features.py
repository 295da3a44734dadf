"""Features: one row of given numbers per token, and which tokens have one."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32

from mora.errors import MoraError, examples

Builder = Callable[..., "Features"]
Note = int | str

MODALITIES: dict[str, Builder] = {}


class FeatureError(MoraError):
    """Features that cannot be built, written or read."""


@dataclass(frozen=True, eq=False)
class Features:
    """One feature row per token; make it with :meth:`from_values`, which checks it.

    Attributes:
        values: features in token order; finite, and zero for tokens without any.
        present: which tokens have features; a desert has no POI.
        columns: name of each column, unique.
        notes: what happened while building: rows used, dropped, values filled in.
    """

    values: Float32[np.ndarray, "tokens columns"]
    present: Bool[np.ndarray, " tokens"]
    columns: tuple[str, ...]
    notes: Mapping[str, Note] = field(default_factory=dict)

    @classmethod
    def from_values(
        cls,
        values: Float[np.ndarray, "tokens columns"],
        present: Bool[np.ndarray, " tokens"],
        columns: Sequence[str],
        notes: Mapping[str, Note] | None = None,
    ) -> "Features":
        """Check and store features; whatever stands in missing rows becomes zero.

        Raises:
            FeatureError: if the column names do not fit, or a value of a present token
                is not a finite float32.
        """
        names = tuple(str(column) for column in columns)
        if len(names) != values.shape[1] or len(set(names)) != len(names):
            raise FeatureError(
                f"{len(names)} column names ({len(set(names))} distinct; first: "
                f"{examples(names)}) for {values.shape[1]} columns; expected one "
                f"unique name each."
            )
        with np.errstate(over="ignore"):
            stored = np.where(present[:, None], values, 0).astype(np.float32)
        bad = np.argwhere(~np.isfinite(stored))
        if len(bad):
            places = [f"token {row}, {names[column]!r}" for row, column in bad[:4]]
            raise FeatureError(
                f"{len(bad)} feature values are not finite (first: "
                f"{examples(places)}); expected finite float32 for every present "
                f"token. Remove these values or mark the tokens as missing."
            )
        return cls(stored, present, names, dict(notes or {}))

    def __len__(self) -> int:
        return len(self.present)

    def standardised(self) -> "Features":
        """Bring each column to mean 0 and standard deviation 1 over present tokens.

        Returns:
            Features of the same shape; a constant column becomes 0, missing rows stay
            0.
        """
        rows = np.asarray(self.values[self.present], dtype=np.float64)
        values = np.zeros(self.values.shape, dtype=np.float64)
        if len(rows):
            varies = rows.min(axis=0) < rows.max(axis=0)
            spread = np.where(varies, rows.std(axis=0), 1.0)
            scaled = (rows - rows.mean(axis=0)) / spread
            values[self.present] = np.where(varies, scaled, 0.0)
        return Features.from_values(values, self.present, self.columns, self.notes)

    def write(self, folder: Path, name: str) -> None:
        """Write ``name.values.npy``, ``name.present.npy`` and ``name.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.values.npy", self.values, allow_pickle=False)
        np.save(folder / f"{name}.present.npy", self.present, allow_pickle=False)
        about = {"columns": list(self.columns), "notes": dict(self.notes)}
        text = json.dumps(about, ensure_ascii=False, indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def read_features(folder: Path, name: str) -> Features:
    """Open features written by :meth:`Features.write`, memory-mapped.

    Raises:
        FeatureError: if a file is missing, cut short or does not fit the others.
    """
    try:
        values = _open(folder / f"{name}.values.npy")
        present = _open(folder / f"{name}.present.npy")
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        columns, notes = tuple(about["columns"]), about["notes"]
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise FeatureError(
            f"features {name!r} in {folder} cannot be read ({error}); expected "
            f"{name}.values.npy, {name}.present.npy and {name}.json as written by "
            f"Features.write. Build the features again."
        ) from error
    found = values.dtype, present.dtype, values.shape, present.shape
    wanted = np.float32, np.bool_, (len(present), len(columns)), (len(present),)
    if found != wanted:
        raise FeatureError(
            f"features {name!r} in {folder}: {values.dtype} values of shape "
            f"{values.shape}, {len(present)} tokens and {len(columns)} columns, which "
            f"do not fit together. Build the features again."
        )
    return Features(values, present, columns, notes)


def _open(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def modality(kind: str) -> Callable[[Builder], Builder]:
    """Register a builder in :data:`MODALITIES` under the name configurations use.

    A builder is called as ``build(tokens, frame, **options)``.

    Raises:
        FeatureError: if the name is taken.
    """

    def register(builder: Builder) -> Builder:
        if kind in MODALITIES:
            raise FeatureError(
                f"modality {kind!r} is registered twice; expected a new name beside "
                f"{', '.join(MODALITIES)}."
            )
        MODALITIES[kind] = builder
        return builder

    return register
