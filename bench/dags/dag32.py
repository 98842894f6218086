"""32 trivial tasks: one makes a list, thirty use an item of it, one adds up. They measure the overhead."""

from airflow.sdk import DAG, task

with DAG("dag32", schedule=None, catchup=False, max_active_tasks=64, tags=["bench"]):

    @task
    def generate() -> list[int]:
        """Make the list."""
        return list(range(30))

    @task
    def double(number: int) -> int:
        """Work on one item."""
        return 2 * number

    @task
    def add_up(numbers: list[int]) -> int:
        """Add up."""
        return sum(numbers)

    add_up(double.expand(number=generate()))
