"""Lines with stations, and the way a trip takes along them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mora.trajectories.generator.layout import Layout


@dataclass(frozen=True, eq=False)
class Transit:
    """Straight lines that all start at one hub.

    Attributes:
        stations: in cells from the corner; the hub is the first.
        line: of each station; of the hub -1, since it is on all of them.
    """

    stations: Float[np.ndarray, "stations 2"]
    line: Int[np.ndarray, " stations"]

    def nearest(
        self, place: Float[np.ndarray, "places 2"]
    ) -> Int[np.ndarray, " places"]:
        """Find the station nearest to each place."""
        away = np.linalg.norm(place[:, None] - self.stations, axis=2)
        return np.argmin(away, axis=1)

    def ride(self, board: int, leave: int) -> list[int]:
        """Give the stations at which a ride starts, changes line and ends.

        Returns:
            Two stations, or three if the ride changes at the hub.
        """
        lines = {int(self.line[board]), int(self.line[leave])} - {-1}
        return [board, leave] if len(lines) < 2 else [board, 0, leave]


def build_lines(layout: Layout, station_cells: float) -> Transit:
    """Join the first centre to each of the others by a line with stations.

    Args:
        layout: of the city.
        station_cells: distance between two stations of a line, at most.

    Returns:
        The lines; with a single centre only the hub.
    """
    hub = layout.centres[0]
    stations, lines = [hub[None]], [np.array([-1])]
    for line, end in enumerate(layout.centres[1:]):
        stops = int(np.ceil(np.linalg.norm(end - hub) / station_cells))
        along = np.arange(1, stops + 1)[:, None] / stops
        stations.append(hub + along * (end - hub))
        lines.append(np.full(stops, line))
    return Transit(np.concatenate(stations), np.concatenate(lines))
