"""Which queues metrics show where there are more than a label should have values."""

from edge_api.upkeep.scrape import queues_shown


def test_all_are_shown_where_they_are_few() -> None:
    assert queues_shown({"a": 3, "b": 0}, {"b": 4, "c": 1}, most=3) == {"a", "b", "c"}


def test_queues_in_which_jobs_wait_come_first_and_the_deepest_of_them() -> None:
    depths = {"a": 1, "b": 9, "c": 5}
    assert queues_shown(depths, {"x": 100}, most=2) == {"b", "c"}


def test_what_is_left_goes_to_the_queues_with_most_slots() -> None:
    assert queues_shown({"a": 1}, {"x": 1, "y": 7, "z": 3, "a": 0}, most=3) == {"a", "y", "z"}
