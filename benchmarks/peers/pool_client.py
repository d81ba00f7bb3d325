"""`python -m benchmarks.peers.pool_client FOLDER`: sends photos as the web tier does and waits for all responses, as
its collector does.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers import rounds
from shoal import settings
from shoal.aws import connect
from shoal.messages import Job, Result, new_batch
from web_tier.venues import pool

THREADS = 4


def main() -> None:
    """Serve rounds until the input ends."""
    chosen = settings.load()
    cloud = connect(chosen)

    def label_all(payloads: list[bytes]) -> None:
        batch = new_batch(time.time())
        jobs = [Job(batch, index, "a.jpg", chosen.resp_queue) for index in range(len(payloads))]
        submission = pool.PoolVenue(cloud.inputs, cloud.requests).open()
        with ThreadPoolExecutor(THREADS + 1) as threads:
            waiting = threads.submit(_wait, {job.key for job in jobs})
            list(threads.map(submission.submit, jobs, payloads))
            submission.flush()
            waiting.result()

    def _wait(keys: set[str]) -> None:
        while keys:
            received = cloud.responses.receive(10, 5)
            for message in received:
                result = Result.from_json(message.body)
                if result.status != "done" or result.cached:
                    raise RuntimeError(f"{result.key} was not labelled: {result}")
                keys.discard(result.key)
            cloud.responses.delete([message.receipt for message in received])

    rounds.serve(sys.argv[1], label_all)


if __name__ == "__main__":
    main()
