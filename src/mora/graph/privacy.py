"""What a minimum number of distinct users per edge and place hides."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

THRESHOLDS = (1, 2, 5, 10)


@dataclass
class ThresholdTable:
    """Edges, weight and places that stay at each minimum number of distinct users.

    Attributes:
        chosen: the threshold that was applied.
        thresholds: the minimum numbers of users compared; the first is 1.
        places: places that stay at each.
        edges: edges that stay at each.
        weight: weight that stays at each.
    """

    chosen: int
    thresholds: tuple[int, ...]
    places: list[int]
    edges: list[int] = field(default_factory=list)
    weight: list[int] = field(default_factory=list)

    @classmethod
    def empty(
        cls, places: Int[np.ndarray, " places"], chosen: int = 2
    ) -> "ThresholdTable":
        """Start counting; ``places`` holds the distinct users of each place."""
        thresholds = tuple(sorted({*THRESHOLDS, chosen}))
        kept = [int((places >= k).sum()) for k in thresholds]
        zeros = [0] * len(thresholds)
        return cls(chosen, thresholds, kept, zeros, zeros.copy())

    def add(
        self,
        weight: Shaped[np.ndarray, " edges"],
        users: Shaped[np.ndarray, " edges"],
    ) -> None:
        """Count a block of edges."""
        for position, threshold in enumerate(self.thresholds):
            kept = users >= threshold
            self.edges[position] += int(kept.sum())
            self.weight[position] += int(weight[kept].sum(dtype=np.int64))

    def describe(self) -> str:
        """Say what each threshold loses, one line each."""
        lines = []
        for k, places, edges, weight in zip(
            self.thresholds, self.places, self.edges, self.weight, strict=True
        ):
            lost_edges = 1 - edges / max(self.edges[0], 1)
            lost_weight = 1 - weight / max(self.weight[0], 1)
            mark = "  <- applied" if k == self.chosen else ""
            lines.append(
                f"at least {k:>2} users: {places:,} places, {edges:,} edges "
                f"({lost_edges:.1%} lost), weight {weight:,} "
                f"({lost_weight:.1%} lost){mark}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Give the table as plain lists."""
        return {
            "min_users": self.chosen,
            "thresholds": list(self.thresholds),
            "places": self.places,
            "edges": self.edges,
            "weight": self.weight,
        }
