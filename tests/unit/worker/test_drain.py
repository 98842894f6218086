"""The steps of a stop: pure decisions over time."""

from edge_worker.maintenance.drain import Drain, Step


def drain() -> Drain:
    return Drain(drain_timeout_s=100, kill_grace_s=5, flush_timeout_s=30)


def test_idle_worker_stops_at_once() -> None:
    stop = drain()
    assert stop.advance(0, tasks=0, undelivered=False) is Step.WORKING
    stop.request(0)
    assert stop.advance(0, tasks=0, undelivered=False) is Step.DONE


def test_drain_waits_for_tasks_then_for_delivery() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(99, tasks=1, undelivered=True) is Step.DRAINING
    assert stop.advance(99, tasks=0, undelivered=True) is Step.FLUSHING
    assert stop.advance(128, tasks=0, undelivered=True) is Step.FLUSHING
    assert stop.advance(128, tasks=0, undelivered=False) is Step.DONE


def test_drain_is_bounded_at_every_step() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(100, tasks=1, undelivered=True) is Step.STOPPING
    assert stop.advance(114, tasks=1, undelivered=True) is Step.STOPPING
    assert stop.advance(115, tasks=1, undelivered=True) is Step.FLUSHING
    assert stop.advance(145, tasks=1, undelivered=True) is Step.DONE


def test_each_further_request_skips_a_wait() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(1, tasks=1, undelivered=True) is Step.DRAINING
    stop.request(1)
    assert stop.advance(1, tasks=1, undelivered=True) is Step.STOPPING
    stop.request(2)
    assert stop.advance(2, tasks=1, undelivered=True) is Step.FLUSHING
    stop.request(3)
    assert stop.advance(3, tasks=1, undelivered=True) is Step.DONE
