"""The assignment of jobs to workers, over random fleets."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from edge_api.dispatch.assign import Waiter, assign, keep_room
from edge_api.dispatch.dispatcher import make_demands
from edge_store.jobs.claims import QueuedJob

NOW = datetime(2026, 11, 21, tzinfo=UTC)
QUEUES = st.sampled_from(["a", "b", "c"])
TEAMS = st.sampled_from([None, "blue"])


@st.composite
def waiters(draw: st.DrawFn) -> list[Waiter]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        concurrency = draw(st.integers(1, 8))
        queues = frozenset(draw(st.sets(QUEUES)))
        free = draw(st.integers(0, concurrency))
        found.append(Waiter(uuid4(), f"w{number}", draw(TEAMS), queues, free, concurrency))
    return found


def wanted(**fixed: st.SearchStrategy[int]) -> dict[str, st.SearchStrategy[object]]:
    return {
        "id": st.uuids(),
        "queue": QUEUES,
        "team": TEAMS,
        "slots": st.integers(1, 8),
        "rank": st.integers(0, 1),
        "priority": st.integers(-3, 3),
        "queued_at": st.integers(0, 5).map(lambda s: NOW + timedelta(seconds=s)),
        **fixed,
    }


candidates = st.lists(st.builds(QueuedJob, **wanted()), max_size=20)
starving = st.lists(st.builds(QueuedJob, **wanted()), max_size=3)


def able(waiter: Waiter, job: QueuedJob) -> bool:
    return waiter.team == job.team and job.queue in waiter.queues


@given(waiters(), candidates, starving)
def test_slots_queues_and_teams_hold(fleet: list[Waiter], jobs: list[QueuedJob], hungry: list[QueuedJob]) -> None:
    pairs = assign(fleet, jobs, hungry)
    used: Counter[UUID] = Counter()
    for job, waiter in pairs:
        assert able(waiter, job)
        used[waiter.session_id] += job.slots
    assert all(used[waiter.session_id] <= waiter.free for waiter in fleet)
    assert len({id(job) for job, _ in pairs}) == len(pairs)


@given(waiters(), candidates)
def test_no_room_is_left_to_a_job_that_fits(fleet: list[Waiter], jobs: list[QueuedJob]) -> None:
    pairs = assign(fleet, jobs)
    free = {waiter.session_id: waiter.free for waiter in fleet}
    for job, waiter in pairs:
        free[waiter.session_id] -= job.slots
    taken = {id(job) for job, _ in pairs}
    for job in jobs:
        if id(job) not in taken:
            assert not any(able(waiter, job) and free[waiter.session_id] >= job.slots for waiter in fleet)


@given(waiters(), st.lists(st.builds(QueuedJob, **wanted(slots=st.just(1))), max_size=20))
def test_equal_jobs_go_in_order(fleet: list[Waiter], jobs: list[QueuedJob]) -> None:
    taken = {id(job) for job, _ in assign(fleet, jobs)}
    for job in jobs:
        for other in jobs:
            same = (job.queue, job.team) == (other.queue, other.team)
            if same and job.order < other.order and id(other) in taken:
                assert id(job) in taken


@given(waiters(), candidates, starving)
def test_a_kept_worker_gets_nothing_ranked_behind(
    fleet: list[Waiter], jobs: list[QueuedJob], hungry: list[QueuedJob]
) -> None:
    kept = keep_room(fleet, hungry)
    for job, waiter in assign(fleet, jobs, hungry):
        if waiter.session_id in kept:
            assert job.order <= kept[waiter.session_id]


def job(**fields: object) -> QueuedJob:
    values = {"queue": "a", "team": None, "slots": 1, "rank": 1, "priority": 0, "queued_at": NOW, "id": uuid4()}
    return QueuedJob(**{**values, **fields})  # type: ignore[arg-type]


def waiter(name: str, free: int, concurrency: int) -> Waiter:
    return Waiter(uuid4(), name, None, frozenset("a"), free, concurrency)


def test_jobs_are_spread() -> None:
    fleet = [waiter("w1", 2, 4), waiter("w2", 4, 4), waiter("w3", 2, 2)]
    order = [found.worker for _, found in assign(fleet, [job() for _ in range(4)])]
    assert sorted(order[:2]) == ["w2", "w3"]
    assert Counter(order) == {"w1": 1, "w2": 2, "w3": 1}


def test_room_is_kept_on_the_worker_that_fits_soonest() -> None:
    fleet = [waiter("small", 3, 3), waiter("w1", 1, 4), waiter("w2", 2, 4)]
    large = job(slots=4)
    assert set(keep_room(fleet, [large])) == {fleet[2].session_id}
    late = [job(queued_at=NOW + timedelta(seconds=1)) for _ in range(9)]
    used = Counter(found.worker for _, found in assign(fleet, late, [large]))
    assert used == {"small": 3, "w1": 1}


def test_demands_sum_up_what_workers_can_take() -> None:
    [demand] = make_demands([waiter("w1", 1, 4), waiter("w2", 3, 3)])
    assert (demand.queue, demand.fits, demand.holds, demand.limit) == ("a", 3, 4, 4)
