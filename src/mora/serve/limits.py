"""What one client may ask of the service, and how often."""

import time
from collections.abc import Callable

from pydantic import Field

from mora.config.section import Section

MOST_CLIENTS = 10_000  # whose buckets are kept; full ones are forgotten first


class Limits(Section):
    """Bounds of the service; a request beyond one is refused, never cut.

    Attributes:
        body_bytes: of a request.
        points: points or places of one request.
        corners: of the polygons of one request.
        answers: places that one search may ask for.
        per_second: requests that a client may make in the long run.
        burst: requests that a client may make at once.
        in_flight: requests of all clients that are worked on at a time.
        body_seconds: that a client may take to send a request.
    """

    body_bytes: int = Field(1_000_000, ge=1)
    points: int = Field(1_000, ge=1)
    corners: int = Field(10_000, ge=4)
    answers: int = Field(1_000, ge=1)
    per_second: float = Field(100.0, gt=0)
    burst: int = Field(200, ge=1)
    in_flight: int = Field(256, ge=1)
    body_seconds: float = Field(10.0, gt=0)


class TokenBuckets:
    """A bucket per client, which each request takes from and time fills again.

    Source: the token bucket of Turner 1986, "New directions in communications".

    Args:
        per_second: how fast a bucket fills, > 0.
        burst: what a bucket holds, >= 1.
        clock: seconds from any start.
    """

    def __init__(
        self,
        per_second: float | int,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, float(burst), clock
        self._buckets: dict[str, tuple[float, float]] = {}  # content, time of it

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take one request out of a client's bucket.

        Returns:
            0 if it may be done, else the seconds until the next one may.
        """
        now = self._clock()
        if client not in self._buckets and len(self._buckets) >= MOST_CLIENTS:
            self._forget(now)
        content = self._content(client, now)
        if content < 1:
            self._buckets[client] = content, now
            return (1 - content) / self._per_second
        self._buckets[client] = content - 1, now
        return 0.0

    def _content(self, client: str, now: float) -> float:
        content, since = self._buckets.get(client, (self._burst, now))
        return min(self._burst, content + (now - since) * self._per_second)

    def _forget(self, now: float) -> None:
        """Drop the full buckets, and then the oldest half where that is not enough."""
        kept = {c: b for c, b in self._buckets.items() if self._content(c, now) < 1}
        if len(kept) >= MOST_CLIENTS:
            oldest = sorted(kept, key=lambda client: kept[client][1])
            kept = {client: kept[client] for client in oldest[len(kept) // 2 :]}
        self._buckets = kept
