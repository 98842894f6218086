"""A night shift that goes wrong: the conveyor jams, somebody is called, and the run fails.

Shows a task that fails permanently, and callbacks. The tag `expect:failed` declares that the run should end in failed.
"""

from airflow.sdk import dag, task


def call_somebody(context):
    """Run in the task's own process on the worker, after the last attempt."""
    print(f"ALARM: {context['ti'].task_id} failed: {context['exception']}")


@dag(schedule=None, tags=["factory", "expect:failed"])
def night_shift():
    @task(on_failure_callback=call_somebody)
    def run_conveyor():
        raise RuntimeError("the conveyor is jammed")

    @task
    def count_parts():
        print("never reached")

    run_conveyor() >> count_parts()


night_shift()
