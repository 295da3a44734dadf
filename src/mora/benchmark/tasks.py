"""A task: one label of some units, and how units are made of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, Shaped

from mora.errors import MoraError, examples


@dataclass(frozen=True, eq=False)
class Task:
    """A label to be read from place vectors.

    Units are the tokens themselves or, with ``pooling``, coarser places such as
    counties, whose vectors are averages of their tokens' vectors.

    Attributes:
        name: what the label is.
        labels: one value a unit, in the label's own unit; NaN where unknown.
        blocks: block of each unit for blocked splits.
        pooling: ``(units, tokens)``, rows sum to 1 (or to 0: the unit has no token);
            see :func:`pooling_matrix`. None where units are tokens.
        transform: ``log1p`` reads log(1 + label) instead, for counts.
        leaky: why the inputs give this label away; such a task is shown apart and
            left out of every mean.
        scale: what a unit is; chooses the readout's settings as the paper does.
        domain: ``social`` or ``economic``, for means of their own; may be empty.
        regions: region of each unit, to leave whole regions out; None if unknown.
        groups: name -> group of each unit, such as urban and rural, to tell errors
            apart; empty text where unknown.
        lonlat: middle of each unit in degrees; None where places are unknown.
    """

    name: str
    labels: Float[np.ndarray, " units"]
    blocks: Int[np.ndarray, " units"]
    pooling: sp.csr_array | None = None
    transform: Literal["log1p"] | None = None
    leaky: str | None = None
    scale: Literal["grid", "county", "city"] = "grid"
    domain: str = ""
    regions: Int[np.ndarray, " _"] | None = None
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    lonlat: Float[np.ndarray, "_ 2"] | None = None

    def units(self) -> Int[np.ndarray, " known"]:
        """List the units that have both a label and a token."""
        known = ~np.isnan(self.labels)
        if self.pooling is not None:
            known &= np.diff(self.pooling.indptr) > 0
        return np.flatnonzero(known)

    def targets(self) -> Float[np.ndarray, " known"]:
        """Give the labels of :meth:`units`, transformed."""
        labels = self.labels[self.units()].astype(np.float64)
        return np.log1p(labels) if self.transform == "log1p" else labels

    def pool(
        self, vectors: Shaped[np.ndarray, "tokens dim"]
    ) -> Shaped[np.ndarray, "known dim"]:
        """Give the vectors of :meth:`units`.

        A unit's vector is the weighted mean over those of its tokens that know the
        column; NaN where none does.
        """
        if self.pooling is None:
            return vectors[self.units()]
        weights = self.pooling[self.units()]
        known = ~np.isnan(vectors)
        total = weights @ np.where(known, vectors, 0.0)
        if known.all():
            return total.astype(np.float32)
        share = weights @ known.astype(np.float64)
        mean = total / np.where(share > 0, share, 1.0)
        return np.where(share > 0, mean, np.nan).astype(np.float32)

    def check(self, tokens: int) -> None:
        """Refuse a task that cannot be evaluated on this many tokens.

        Raises:
            MoraError: if shapes disagree, no label meets a token, labels are constant,
                infinite or outside the transform's range, or pooling rows do not sum
                to 1.
        """
        self._check_shapes(tokens)
        found = self.units()
        if len(found) == 0:
            raise MoraError(
                f"task {self.name!r}: none of {len(self.labels)} labels meets a token "
                f"({np.isnan(self.labels).sum()} are missing); expected labels of "
                f"places that the run covers. Check ids, resolution and study area."
            )
        labels = self.labels[found]
        lowest = -1.0 if self.transform == "log1p" else -np.inf
        bad = ~np.isfinite(labels) | (labels <= lowest)
        if bad.any():
            limit = " above -1 for log1p" if self.transform else ""
            raise MoraError(
                f"task {self.name!r}: {bad.sum()} of {len(labels)} labels cannot be "
                f"used (first: {examples(labels[bad].tolist())}); expected finite "
                f"values{limit}. Correct them, or mark them missing (NaN)."
            )
        if labels.min() == labels.max():
            raise MoraError(
                f"task {self.name!r}: all {len(labels)} labels are {labels[0]:g}; "
                f"expected labels that differ. Leave the task out."
            )

    def _check_shapes(self, tokens: int) -> None:
        """Refuse arrays that do not belong together."""
        if self.transform not in (None, "log1p"):
            raise MoraError(
                f"task {self.name!r}: transform {self.transform!r}; expected log1p or "
                f"none."
            )
        wanted = (len(self.labels), tokens)
        shape = (tokens, tokens) if self.pooling is None else self.pooling.shape
        if shape != wanted or len(self.blocks) != len(self.labels):
            raise MoraError(
                f"task {self.name!r}: {len(self.labels)} labels, {len(self.blocks)} "
                f"blocks and units x tokens {shape}, where models have {tokens} "
                f"tokens; expected one label and one block a unit. Labels of coarser "
                f"units need `pooling`."
            )
        others = {"regions": self.regions, "lonlat": self.lonlat, **self.groups}
        lengths = {name: len(v) for name, v in others.items() if v is not None}
        if set(lengths.values()) - {len(self.labels)}:
            raise MoraError(
                f"task {self.name!r}: {len(self.labels)} labels and {lengths} rows "
                f"beside them; expected one row a unit in each."
            )
        if self.pooling is not None:
            total = self.pooling.sum(axis=1)
            wrong = (np.diff(self.pooling.indptr) > 0) & (np.abs(total - 1) > 1e-6)
            if wrong.any():
                raise MoraError(
                    f"task {self.name!r}: the weights of {wrong.sum()} units do not "
                    f"sum to 1 (first: {examples(total[wrong].tolist())}). Build the "
                    f"pooling with pooling_matrix."
                )


def pooling_matrix(
    unit: Int[np.ndarray, " pairs"],
    token: Int[np.ndarray, " pairs"],
    weight: Float[np.ndarray, " pairs"],
    shape: tuple[int, int],
) -> sp.csr_array:
    """Build the matrix that averages token vectors to units.

    Args:
        unit: unit of each pair.
        token: token of each pair.
        weight: how much of the unit the token makes up (people, area, or 1), >= 0;
            pairs of weight 0 are dropped.
        shape: number of units, number of tokens.

    Returns:
        ``(units, tokens)``, rows sum to 1; a unit without tokens has an empty row.

    Raises:
        MoraError: if a weight is negative or not finite, or a pair out of range.
    """
    strange = (unit < 0) | (unit >= shape[0]) | (token < 0) | (token >= shape[1])
    if strange.any():
        raise MoraError(
            f"{strange.sum()} of {len(unit)} pairs name a unit or token outside the "
            f"{shape[0]} units and {shape[1]} tokens (first: unit "
            f"{unit[strange][0]}, token {token[strange][0]}); expected rows of both. "
            f"Leave out pairs whose token is unknown (-1)."
        )
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(weight)} pooling weights are negative or not finite "
            f"(first: {examples(weight[bad].tolist())}); expected weights >= 0. "
            f"Correct them, or leave the pairs out."
        )
    total = np.bincount(unit, weight, minlength=shape[0])[unit]
    kept = weight > 0
    share = weight[kept] / total[kept]
    return sp.csr_array((share, (unit[kept], token[kept])), shape=shape)
