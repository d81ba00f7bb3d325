"""One tick: observe -> decide -> plan -> act. Level, not edge: it may be killed at any line and started again."""

from __future__ import annotations

import logging
import uuid

from controller.intents import Intents
from controller.ledger import Entry, Ledger
from controller.plan import Act, Drain, Launch, Terminate, plan
from controller.policy import Decision, Intent, Limits, Need, Observation, Policy, clamp, recent, stabilise
from shoal.errors import CapacityUnavailable, Permanent, Retryable, ShoalError
from shoal.ports import Clock, InstancePool, JobQueue

log = logging.getLogger(__name__)


class Reconciler:
    """Brings the pool to what the policy asks for, one tick at a time. One thread."""

    def __init__(
        self,
        queue: JobQueue,
        pool: InstancePool,
        policy: Policy,
        limits: Limits,
        ledger: Ledger,
        intents: Intents,
        clock: Clock,
        drain_seconds: float,
    ) -> None:
        self._queue = queue
        self._pool = pool
        self._policy = policy
        self._limits = limits
        self._ledger = ledger
        self._intents = intents
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._needs: tuple[Need, ...] = ()
        self._blind = False

    def resume(self) -> None:
        """Ask again for the launches that a controller before this one had begun; call it once, before the ticks.

        They carry the same client tokens, so what was launched is not launched twice. Those of long ago are forgotten:
        nobody knows whether they are needed still, and the ticks will see what is.
        """
        for intent in self._intents.open((), self._clock.now()):
            log.info("asking again for %d instances that the last controller had asked for", len(intent.names))
            self._launch(intent)

    def tick(self) -> Entry | None:
        """Do one round. Returns what goes into the ledger, or None when the cloud could not be read: then nothing is
        decided, because an unreadable queue is not an empty queue."""
        observation = self._observe()
        if observation is None:
            return None
        decision = self._decide(observation)
        acts = tuple(plan(decision, observation, self._limits, self._drain_seconds))
        refusals = [refusal for act in acts if (refusal := self._act(act))]
        entry = Entry(observation, decision, acts, "; ".join(refusals))
        if sentence := self._ledger.record(entry):
            log.info("%s", sentence)
        return entry

    def _observe(self) -> Observation | None:
        try:
            # The queue first: a worker that takes a message between the two calls is then seen as well.
            depth = self._queue.depth()
            instances = tuple(self._pool.describe())
        except ShoalError as error:
            if not self._blind:
                log.warning("cannot see the queue or the pool; holding everything as it is: %s", error)
            self._blind = True
            return None
        if self._blind:
            log.info("the queue and the pool can be seen again")
        self._blind = False
        now = self._clock.now()
        return Observation(now, depth, instances, self._intents.open(instances, now))

    def _decide(self, observation: Observation) -> Decision:
        wanted = self._policy(observation)
        needs = (*self._needs, Need(observation.now, wanted.desired))
        self._needs = recent(needs, observation.now, self._limits.quiet_seconds)
        return clamp(stabilise(wanted, self._needs, observation, self._limits), self._limits)

    def _act(self, act: Act) -> str:
        """Carry out one act; returns why the cloud refused, or "" when it did not."""
        try:
            match act:
                case Launch(names):
                    intent = Intent(uuid.uuid4().hex, names, self._clock.now())
                    self._intents.add(intent)
                    return self._launch(intent)
                case Drain(ids):
                    self._pool.drain(ids)
                case Terminate(ids):
                    self._pool.terminate(ids)
        except ShoalError as error:
            return str(error)
        return ""

    def _launch(self, intent: Intent) -> str:
        try:
            launched = self._pool.launch(intent.names, intent.token)
        except (CapacityUnavailable, Permanent) as error:
            self._intents.forget(intent.token)
            return str(error)
        except Retryable as error:
            # Nobody knows whether it went through: it counts until it shows up or its time is over.
            return str(error)
        self._intents.granted(intent.token, len(launched))
        return ""
