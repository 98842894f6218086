"""Why a job is not starting: one pure function of the job and the workers.

It follows the same rules as the claim, in the order in which a person would fix things: is there a worker for the queue
and team, is it connected, may it be given jobs, is it large enough, does it have room.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from edge_api.fleet.views import age, serves
from edge_protocol.admin import Explanation, JobView, Reason, ReasonCode, Verdict, WorkerVerdict, WorkerView
from edge_protocol.job_state import FINISHED_STATES, JobState
from edge_protocol.worker_state import GONE_STATES, WorkerState

WORKERS_MOST: Final = 100
NAMES_MOST: Final = 5
"""Workers named in a sentence; the list has the rest."""

_IN_MAINTENANCE = frozenset({ReasonCode.MAINTENANCE})


def explain(job: JobView, workers: Sequence[WorkerView], now: datetime) -> Explanation:
    """Return why a job is where it is, and what would make it start."""
    serving = [worker for worker in workers if serves(worker, job.queue)]
    verdict, message = _verdict(job, serving, now)
    if job.state is JobState.RUNNING:
        message = next((_out_of_contact(job, each) for each in workers if _is_away(job, each)), message)
    verdicts = [WorkerVerdict(name=worker.name, reasons=reasons_against(worker, job, now)) for worker in serving]
    verdicts.sort(key=lambda each: (len(each.reasons), each.name))
    return Explanation(job=job, verdict=verdict, message=message, workers=verdicts[:WORKERS_MOST])


def reasons_against(worker: WorkerView, job: JobView, now: datetime) -> list[Reason]:
    """Return every reason why a worker is not given a job; an empty list: it could be."""
    reasons = []
    if not serves(worker, job.queue):
        reasons.append(Reason(code=ReasonCode.QUEUE, message=f"It does not serve the queue {job.queue}."))
    if worker.team != job.team:
        reasons.append(Reason(code=ReasonCode.TEAM, message=f"It belongs to {_team(worker.team)}."))
    if worker.state in GONE_STATES:
        reasons.append(_gone(worker, now))
    if worker.state is WorkerState.STARTING:
        reasons.append(Reason(code=ReasonCode.STARTING, message="It is starting: its runner still loads."))
    reasons += worker.cordon.reasons
    if worker.concurrency < job.slots:
        text = f"It has {worker.concurrency} slots in all, the job needs {job.slots}."
        reasons.append(Reason(code=ReasonCode.SLOTS_NEVER, message=text))
    elif worker.state not in GONE_STATES and worker.slots_free < job.slots:
        text = f"{worker.slots_free} of {worker.concurrency} slots are free, the job needs {job.slots}."
        reasons.append(Reason(code=ReasonCode.SLOTS_BUSY, message=text))
    return reasons


def _gone(worker: WorkerView, now: datetime) -> Reason:
    if worker.state is WorkerState.UNKNOWN:
        since = age(now, worker.last_heartbeat)
        return Reason(code=ReasonCode.UNKNOWN, message=f"Nothing was heard of it for {since}.")
    return Reason(code=ReasonCode.OFFLINE, message="It is offline.")


def _verdict(job: JobView, serving: Sequence[WorkerView], now: datetime) -> tuple[Verdict, str]:
    if job.state in FINISHED_STATES:
        why = f": {job.error}" if job.error else ""
        return Verdict.FINISHED, f"The job has ended as {job.state}{why}."
    if job.state is JobState.RUNNING:
        return Verdict.RUNNING, f"The job runs on worker {job.worker} since {_time(job.started_at)}."
    if job.state is JobState.LEASED:
        return Verdict.LEASED, (
            f"The job was given to worker {job.worker} at {_time(job.leased_at)}, which has not accepted it yet. "
            "If it does not, the job goes back to its queue by itself."
        )
    return _waiting(job, serving, now)


def _is_away(job: JobView, worker: WorkerView) -> bool:
    return worker.name == job.worker and worker.state is WorkerState.UNKNOWN


def _out_of_contact(job: JobView, worker: WorkerView) -> str:
    last_sign = max(worker.last_heartbeat, job.started_at or worker.last_heartbeat)
    kept = _time(last_sign + timedelta(seconds=job.outage_tolerance_s))
    where = f"The job runs on worker {worker.name}, which is out of contact since {_time(worker.last_heartbeat)}."
    if not job.outage_tolerance_s:
        return f"{where} It is about to be given up."
    return (
        f"{where} It is kept until {kept}: if the worker comes back by then, nothing is lost; if not, the worker has "
        "ended the task shortly before, the job is given up, and Airflow's retries decide."
    )


def _waiting(job: JobView, serving: Sequence[WorkerView], now: datetime) -> tuple[Verdict, str]:
    if not serving:
        return Verdict.NO_WORKER, (
            f"No worker serves the queue {job.queue}. Start a worker with it, or add it to one: "
            "airflow edge add-worker-queues."
        )
    team = [worker for worker in serving if worker.team == job.team]
    if not team:
        return Verdict.TEAM, (
            f"Workers serve the queue {job.queue}, but none of {_team(job.team)}: {_names(serving)}. "
            "Enrol a worker with a join token of that team."
        )
    there = [worker for worker in team if worker.state not in GONE_STATES]
    if not there:
        heard = age(now, max(worker.last_heartbeat for worker in team))
        return Verdict.GONE, (
            f"No worker of the queue {job.queue} is there: {_names(team)}; the last was heard of {heard} ago. "
            "Start one."
        )
    capable = [worker for worker in there if not worker.cordon.reasons]
    if not capable:
        return _cordoned(job, there)
    ready = [worker for worker in capable if worker.state is not WorkerState.STARTING]
    return _room(job, ready) if ready else _starting(job, capable)


def _cordoned(job: JobView, there: Sequence[WorkerView]) -> tuple[Verdict, str]:
    said = "; ".join(f"{worker.name}: {worker.cordon.reasons[0].message}" for worker in there[:NAMES_MOST])
    if all(worker.cordon.reasons[0].code is ReasonCode.VERSION for worker in there):
        return Verdict.VERSION, f"No worker of the queue {job.queue} has a version that the policy allows. {said}"
    fix = (
        "End the maintenance: airflow edge remote-edge-worker-exit-maintenance."
        if any({reason.code for reason in worker.cordon.reasons} <= _IN_MAINTENANCE for worker in there)
        else "Start another worker for the queue."
    )
    return Verdict.CORDONED, f"No worker of the queue {job.queue} may be given jobs. {said.rstrip('.')}. {fix}"


def _starting(job: JobView, starting: Sequence[WorkerView]) -> tuple[Verdict, str]:
    return Verdict.STARTING, (
        f"Workers of the queue {job.queue} are starting: {_names(starting)}. One takes the job as soon as its "
        "runner has loaded. If that does not come, the worker's own log says why."
    )


def _room(job: JobView, capable: Sequence[WorkerView]) -> tuple[Verdict, str]:
    largest = max(capable, key=lambda worker: worker.concurrency)
    if largest.concurrency < job.slots:
        return Verdict.SLOTS_NEVER, (
            f"The job needs {job.slots} slots; the largest worker of the queue {job.queue} has {largest.concurrency} "
            f"in all ({largest.name}). Raise its concurrency: airflow edge set-worker-concurrency. Or lower pool_slots."
        )
    fitting = [worker for worker in capable if worker.concurrency >= job.slots]
    freest = max(fitting, key=lambda worker: worker.slots_free)
    if freest.slots_free < job.slots:
        return Verdict.SLOTS_BUSY, (
            f"The job needs {job.slots} slots; the most that any worker of the queue {job.queue} has free now is "
            f"{freest.slots_free} ({freest.name}). It starts when a worker has finished enough of its jobs."
        )
    return Verdict.DISPATCHING, (
        f"Worker {freest.name} has room: the job is about to be given out. If this lasts, jobs of higher priority go "
        "first, or the worker is not connected right now."
    )


def _names(workers: Sequence[WorkerView]) -> str:
    named = ", ".join(worker.name for worker in workers[:NAMES_MOST])
    more = len(workers) - NAMES_MOST
    return f"{named} and {more} more" if more > 0 else named


def _team(team: str | None) -> str:
    return "no team" if team is None else f"team {team}"


def _time(at: datetime | None) -> str:
    return "an unknown time" if at is None else at.isoformat(timespec="seconds")
