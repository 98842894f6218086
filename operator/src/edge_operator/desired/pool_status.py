"""The status of an EdgeWorkerPool: numbers of workers, slots and queued jobs, and conditions with reasons."""

from datetime import datetime

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason, Verdict, with_times
from edge_operator.api.types import EdgeWorkerPool, Obj, timestamp
from edge_operator.desired.pool import Member, Plan


def pool_status(
    pool: EdgeWorkerPool, desired: int, members: list[Member], plan: Plan, queued: int | None, now: datetime
) -> Obj:
    """Return the whole status of a pool that should have `desired` workers.

    `members` are observed after `plan` was carried out. `queued`: jobs that wait, if the pool scales by them.
    """
    active = [member for member in members if not member.deleting]
    ready = [member for member in active if member.available]
    used, total = sum(member.slots_used for member in ready), sum(member.slots_total for member in ready)
    scaled = pool.status.get("desiredReplicas") not in (None, desired)
    status: Obj = {
        "observedGeneration": pool.meta.generation,
        "selector": f"{names.POOL_LABEL}={pool.meta.name}",
        "desiredReplicas": desired,
        "replicas": len(active),
        "readyReplicas": len(ready),
        "updatedReplicas": sum(member.up_to_date for member in active),
        "slotsUsed": used,
        "slotsTotal": total,
        "slots": f"{used}/{total}",
        "queuedJobs": queued,
        "lastScaleTime": timestamp(now) if scaled else pool.status.get("lastScaleTime"),
    }
    status = {key: value for key, value in status.items() if value is not None}
    moving = not plan.empty or len(members) != len(active) or len(active) != desired
    rolling = any(not member.up_to_date for member in active)
    status["conditions"] = _conditions(
        pool, _ready(len(ready), desired), _progressing(moving=moving, rolling=rolling), now
    )
    return status


def invalid_pool_status(pool: EdgeWorkerPool, reason: Reason, message: str, now: datetime) -> Obj:
    """Return the status of a pool whose spec can't be carried out: the numbers stay as they were."""
    ready: Verdict = ("False", reason, message)
    progressing: Verdict = ("False", Reason.BLOCKED, "The spec can't be carried out; see the condition Ready.")
    conditions = _conditions(pool, ready, progressing, now)
    return pool.status | {"observedGeneration": pool.meta.generation, "conditions": conditions}


def _conditions(pool: EdgeWorkerPool, ready: Verdict, progressing: Verdict, now: datetime) -> list[Obj]:
    verdicts = {Condition.READY: ready, Condition.PROGRESSING: progressing}
    return with_times(verdicts, pool.status.get("conditions") or [], pool.meta.generation, now)


def _ready(ready: int, desired: int) -> Verdict:
    message = f"{ready} of {desired} workers take jobs."
    if ready >= desired:
        return "True", Reason.POOL_READY, message
    return "False", Reason.POOL_SHORT, message


def _progressing(*, moving: bool, rolling: bool) -> Verdict:
    if rolling:
        return "True", Reason.ROLLING, "Workers are being brought to the current template."
    if moving:
        return "True", Reason.SCALING, "Workers are being added or drained."
    return "False", Reason.UP_TO_DATE, "Everything matches the spec."
