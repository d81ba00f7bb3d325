"""One tick: observe -> decide -> plan -> act. Level, not edge: it may be killed at any line and started again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from controller.budget import Allowance, allowance
from controller.estimates import Flow
from controller.experience import Experience
from controller.intents import Intents
from controller.lease import Hold
from controller.ledger import Tick, TickRecord
from controller.plan import Act, Drain, Launch, plan
from controller.policy import BulkNeed, Decision, Intent, Observation, decide
from controller.rules import Rules
from shoal.errors import CapacityUnavailable, LeaseLost, Permanent, Retryable, ShoalError
from shoal.ledger import Refusal, Spent
from shoal.logs import WarnOnce
from shoal.ports import Beat, Clock, Cloud, Depth, Grant, Instance, InstancePool

log = logging.getLogger(__name__)

CLOCK_SET_SECONDS = 5.0  # a time of day that moves by so much against a steady clock was set
NO_LEASE = "the lease ran out before it, another controller may act by now"


class Reconciler:
    """Brings the pool to the size that the policy asks for, one tick at a time. One thread.

    steady:  seconds by a clock that nobody sets; it shows when the time of day was set.
    dry_run: look, decide and write the ledger; take no lease, do nothing.
    marks:   the pool that drains by marks, when the cloud's pool drains by messages.
    bulk:    what the bulk runs need at a time, seconds since 1970.
    """

    def __init__(
        self,
        cloud: Cloud,
        rules: Rules,
        ledger: TickRecord,
        hold: Hold,
        intents: Intents,
        clock: Clock,
        steady: Callable[[], float],
        experience: Experience | None = None,
        spent: Spent | None = None,
        dry_run: bool = False,
        marks: InstancePool | None = None,
        bulk: Callable[[float], BulkNeed] = lambda _: BulkNeed(),
    ) -> None:
        self._cloud = cloud
        self._rules = rules
        self._ledger = ledger
        self._hold = hold
        self._intents = intents
        self._clock = clock
        self._steady = steady
        self._experience = experience or Experience()
        self._spent = spent or Spent(clock.now(), since=clock.now())
        self._dry_run = dry_run
        self._other_workers = False
        self._marks = marks or cloud.pool
        self._bulk = bulk
        self._offset = clock.now() - steady()
        self._cloud_faults = WarnOnce(log)
        self._policy_faults = WarnOnce(log)
        self._register_faults = WarnOnce(log)

    def use(self, rules: Rules) -> str:
        """Use other rules from the next tick on. Returns why their budget lets no machine start; "" when it does."""
        self._rules = rules
        if rules.budget is None:
            return ""
        allowed = allowance(rules.budget, rules.budget.reckon(self._spent, self._clock.now(), self._spent.machines))
        return "" if allowed.machines else allowed.why

    def expect_other_workers(self) -> None:
        """New instances get workers with other settings: measure anew what several of them do together."""
        self._other_workers = True  # for the thread that ticks

    def tick(self) -> Tick | None:
        """Do one round. Returns what it saw and did. None while another controller holds the lease, and when the cloud
        could not be read: then nothing is decided, because an unreadable queue is not an empty queue."""
        if not self._may_act():
            return None
        rules = self._rules
        observation = self._observe(rules)
        if observation is None:
            return None
        try:
            decision, needs = decide(rules.policy, observation, self._experience.needs, rules.terms)
            self._experience = replace(self._experience, needs=needs)
            self._policy_faults.clear()
        except Exception as error:
            why = f"the policy breaks ({type(error).__name__}: {error}), so the pool stays as it is"
            self._policy_faults.warn("%s: change it, for example `shoal set SHOAL_POLICY=deadline`", why, exc_info=True)
            observation = replace(observation, standstill=why)
            decision = Decision(observation.capacity, why)
        allowed = self._allowance(observation, rules)
        planned = plan(decision, observation, rules.terms.limits, rules.patience, allowed)
        done, refused = [], list(planned.refused)
        for act in planned.acts:
            effect, refusal = (act, None) if self._dry_run else self._act(act)
            done += [effect] if effect else []
            refused += [refusal] if refusal else []
        if not self._dry_run:
            asked = [one for act in done if not isinstance(act, Launch) for one in act.ids]
            self._experience = self._experience.asked_to_leave(asked, self._clock.now())
        spent = self._spent if rules.budget else None
        tick = Tick(
            observation,
            decision,
            tuple(done),
            tuple(refused),
            spent,
            self._hold.token,
            self._dry_run,
            allowed.why if allowed and not allowed.machines else "",
        )
        if sentence := self._ledger.record(tick):
            log.info("%s", sentence)
        return tick

    # the lease

    def _may_act(self) -> bool:
        if self._dry_run:
            return True
        grant = self._hold.attend()
        if grant is not None:
            self._resume(grant)
        return self._hold.held()

    def _resume(self, grant: Grant) -> None:
        """Repeat the launches that the last holder of the lease had begun.

        They carry the same client tokens, so nothing is launched twice. A controller that was paused before its launch
        finds the token used. Launches that are too old to be made by anybody are forgotten.
        """
        now = self._clock.now()
        self._intents.load(grant, now)
        for intent in self._intents.open((), now):
            log.info("asking again for %d instances that the last controller had asked for", len(intent.names))
            self._launch(intent)

    # observe

    def _observe(self, rules: Rules) -> Observation | None:
        seen = self._look()
        if seen is None:
            return None
        depth, instances, beats = seen
        now = self._clock.now()
        self._start_afresh_when_the_clock_was_set(now)
        if self._other_workers:
            self._other_workers = False
            self._experience = replace(self._experience, throughput=self._experience.throughput.anew(now))
        self._experience = self._experience.look(
            now, depth, instances, beats, rules.patience, rules.terms.target_seconds
        )
        observation = self._experience.observation(now, depth, instances, self._intents.open(instances, now))
        return replace(observation, bulk=self._bulk(now))

    def _look(self) -> tuple[Depth, tuple[Instance, ...], Mapping[str, Beat] | None] | None:
        try:
            # The queue first: a worker that takes a message between the calls is then seen as well.
            depth = self._cloud.requests.depth()
            instances = tuple(self._cloud.pool.describe())
        except ShoalError as error:
            self._cloud_faults.warn("cannot see the queue or the pool; holding everything as it is: %s", error)
            return None
        if self._cloud_faults.clear():
            log.info("the queue and the pool can be seen again")
        return depth, instances, self._listen(instances)

    def _listen(self, instances: tuple[Instance, ...]) -> Mapping[str, Beat] | None:
        """The workers' beats; None when the register cannot be read. Strikes off workers without an instance: if such a
        worker is alive after all, its next beat registers it again."""
        try:
            beats = self._cloud.register.workers()
            gone = sorted(beats.keys() - {one.id for one in instances})
            if gone and not self._dry_run:
                self._cloud.register.forget(gone)
        except ShoalError as error:
            self._register_faults.warn("cannot hear the workers; none of them counts as lost meanwhile: %s", error)
            return None
        self._register_faults.clear()
        return beats

    def _start_afresh_when_the_clock_was_set(self, now: float) -> None:
        """When the clock was set, start silence and quiet time again: they would be wrong."""
        offset = now - self._steady()
        if abs(offset - self._offset) > CLOCK_SET_SECONDS:
            log.warning("the clock was set by %+.0f s: watching afresh", offset - self._offset)
            throughput = self._experience.throughput.anew(now)
            self._experience = replace(self._experience, seen=None, flow=Flow(), throughput=throughput, needs=())
        self._offset = offset

    def _allowance(self, observation: Observation, rules: Rules) -> Allowance | None:
        if rules.budget is None:
            # A budget that is set later counts from then on, with the machines that run then.
            self._spent = Spent(observation.now, machines=observation.machines, since=observation.now)
            return None
        self._spent = rules.budget.reckon(self._spent, observation.now, observation.machines)
        return allowance(rules.budget, self._spent)

    # act

    def _act(self, act: Act) -> tuple[Act | None, Refusal | None]:
        """Carry out one act. Returns what of it took effect, and what was refused."""
        if isinstance(act, Launch):
            return self._launch_anew(act)
        try:
            self._check_lease()
            if isinstance(act, Drain):
                # A lost worker reads no message, and a good one would obey instead: mark the lost one.
                (self._marks if act.why else self._cloud.pool).drain(act.ids)
            else:
                self._cloud.pool.terminate(act.ids)
        except ShoalError as error:
            return None, Refusal(len(act.ids), str(error))
        return act, None

    def _check_lease(self) -> None:
        if not self._hold.held():
            raise LeaseLost(NO_LEASE)

    def _launch_anew(self, act: Launch) -> tuple[Act | None, Refusal | None]:
        """Launch in several calls: a cloud may take spot and on demand, or each zone, in calls of their own."""
        launched: tuple[str, ...] = ()
        refusal = None
        while len(launched) < len(act.names) and refusal is None:
            names, refusal = self._launch_some(act.names[len(launched) :])
            launched += names
        return Launch(launched) if launched else None, refusal

    def _launch_some(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Refusal | None]:
        """Write the intent, then call. Returns the names launched: at least 1 unless it was refused."""
        try:
            self._check_lease()
            intent = Intent(self._cloud.pool.token(len(names)), names, self._clock.now())
            self._intents.add(intent)
        except ShoalError as error:
            return (), Refusal(len(names), str(error))
        return self._launch(intent)

    def _launch(self, intent: Intent) -> tuple[tuple[str, ...], Refusal | None]:
        asked = len(intent.names)
        try:
            self._check_lease()
            launched = self._cloud.pool.launch(intent.names, intent.token)
        except (CapacityUnavailable, Permanent) as error:
            self._intents.forget(intent.token)
            return (), Refusal(asked, str(error))
        except Retryable as error:
            # It may have gone through: the intent counts until its instances show up or it is overdue.
            return (), Refusal(asked, f"unclear until it shows up: {error}")
        self._intents.granted(intent.token, len(launched))
        return intent.names[: len(launched)], None if launched else Refusal(asked, "the cloud gave none")
