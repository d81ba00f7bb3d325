"""How fast a run goes, by the times at which its shards were marked as done. So every reader says the same. Pure."""

from __future__ import annotations

from runs.records import DoneShard

WINDOW_SECONDS = 120.0  # the speed is that of the last two minutes
SKEW_SECONDS = 60.0  # the marks have the store's clock, which may go before or after the reader's
MOST_POINTS = 120  # of the curve

Points = tuple[tuple[float, int], ...]


class RunPace:
    """began: when the run began, seconds since 1970."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._done: dict[int, tuple[float, int]] = {}  # shard -> when it was done, and its photos

    def note(self, done: DoneShard) -> None:
        """A shard is done. It may be noted again."""
        self._done[done.shard] = (done.at, done.images)

    def images_per_second(self, now: float) -> float:
        """Of the last two minutes, or since the beginning if that is shorter. now: by the reader's clock."""
        newest = max((at for at, _ in self._done.values()), default=self._began)
        end = now if now - newest > SKEW_SECONDS else newest
        return self._rate(max(self._began, end - WINDOW_SECONDS), end)

    def over_all(self) -> float:
        """Photos a second from the beginning to the last shard."""
        return self._rate(self._began, max((at for at, _ in self._done.values()), default=self._began))

    def newest(self, most: int) -> tuple[int, ...]:
        """The shards that were done last, the newest first."""
        return tuple(sorted(self._done, key=lambda shard: (self._done[shard][0], shard), reverse=True)[:most])

    def curve(self) -> Points:
        """How many photos were done at which time, from the beginning on."""
        done, points = 0, [(self._began, 0)]
        for at, images in sorted(self._done.values()):
            done += images
            points.append((max(at, self._began), done))
        step = max(1, -(-len(points) // MOST_POINTS))
        return (*points[:-1:step], points[-1])

    def _rate(self, begin: float, end: float) -> float:
        images = sum(images for at, images in self._done.values() if begin < at <= end)
        return images / (end - begin) if end > begin else 0.0
