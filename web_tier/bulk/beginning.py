"""From what a request asks for to a run that has begun. The workers list its keys: this process holds none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runs.asking import check_bucket, seconds_of, service_seconds, worker_price
from runs.forecast import Forecast, forecast
from runs.run import Run, again, shard_images
from runs.sources import BucketSource
from runs.steering import Steering, check_failed
from shoal.errors import NotFound, Permanent
from shoal.ports import Clock, Cloud
from shoal.settings import Settings
from web_tier.bulk.allowed import AllowedPlaces, address_of
from web_tier.problems import Problem
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.runs import RUN

FAIL_ABOVE = 0.5

check_body = RequestCheck(RUN)  # raises Problem (400)


class RunStarter:
    """Begins and steers runs. Every method may raise Retryable."""

    def __init__(self, settings: Settings, cloud: Cloud, clock: Clock, allowed: AllowedPlaces) -> None:
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self._allowed = allowed
        self._steering = Steering(cloud)

    def run_of(self, asked: Mapping[str, Any], run: str) -> Run:
        """The run that a checked body asks for. Raises Problem (400, 403)."""
        bucket, prefix = self._allowed.source(asked["source"])
        target = asked.get("into", "")
        if target:
            target = address_of(self._allowed.target(target))
        source = address_of((bucket, prefix))
        for address in (source, target):
            self._check_bucket(address)
        deadline = asked.get("deadline", "")
        return Run(
            run,
            source,
            bucket,
            prefix,
            target,
            asked.get("model", ""),
            asked.get("top", 5),
            _share(asked, "threshold", 0.0),
            asked.get("where", ""),
            asked.get("limit", 0),
            shard_images(service_seconds(self._settings)),
            self._clock.now() + seconds_of(deadline) if deadline else 0.0,
            _share(asked, "fail_above", FAIL_ABOVE),
            asked.get("not_if_done", False),
            price_per_hour=worker_price(self._settings),
            hash=asked.get("hash", False),
            exif=",".join(sorted(set(asked.get("exif", ())))),
        )

    def expected(self, run: Run) -> Forecast:
        """What a run will take, by its first photos. Raises Problem (403) when this process may not list them."""
        source = BucketSource(self._cloud.buckets[run.bucket], run.prefix)
        try:
            return forecast(run, source, service_seconds(self._settings))
        except Permanent as error:
            raise Problem(
                403, f"This server may not count the photos; its workers may still label them. {error}"
            ) from None

    def begin(self, run: Run) -> None:
        """Write it down and send the first message of its listing. It is safe to begin it again."""
        self._steering.start(run)

    def check_again(self, run: Run) -> None:
        """Raise Problem (409) when there is nothing of a run to label once more."""
        self._steer(lambda: check_failed(self._steering.records, run.id))

    def again(self, run: Run, id_: str) -> None:
        """Begin a run for the photos of another that failed. See `check_again`."""
        self._steering.start(again(run, id_))

    def pause(self, run: str) -> None:
        """Let it rest. Raises Problem (409) when it is finished."""
        self._steer(lambda: self._steering.pause(run))

    def resume(self, run: str) -> None:
        """Let it go on, and send again what is not done. Raises Problem (409) when it is finished."""
        self._steer(lambda: self._steering.resume(run))

    def cancel(self, run: str) -> None:
        """End it with what is labelled until now. Raises Problem (409) when it is finished."""
        self._steer(lambda: self._steering.cancel(run))

    def _steer(self, do: Callable[[], object]) -> None:
        try:
            do()
        except Permanent as error:
            raise Problem(409, _sentence(error)) from None

    def _check_bucket(self, address: str) -> None:
        try:
            check_bucket(self._cloud, address)
        except NotFound as error:
            raise Problem(400, _sentence(error)) from None
        except Permanent:
            return  # this process may not list it; whether the workers may, they say themselves


def _share(asked: Mapping[str, Any], name: str, usual: float) -> float:
    """A share of 1. Raises Problem (400) for what JSON cannot say and its readers take: NaN."""
    share = float(asked.get(name, usual))
    if not 0 <= share <= 1:
        raise Problem(400, f"{name} is not from 0 to 1.")
    return share


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
