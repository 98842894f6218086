"""A press line: orders come in, each is pressed, the batch is inspected and goes to packing or back to rework.

Shows @task, dynamic task mapping, XComs, @task.branch, @task.bash and BashOperator. Nothing in this file refers to edge
workers: a task goes to the workers that serve its queue, here the default one.
"""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Variable, dag, task


@dag(schedule=None, tags=["factory"])
def press_line():
    check_press = BashOperator(
        task_id="check_press", bash_command="echo press on $(uname -n) is ready with $(nproc) cores"
    )

    @task
    def read_orders():
        return [{"part": "door", "count": 4}, {"part": "hood", "count": 2}, {"part": "fender", "count": 7}]

    # One task instance per order; they run at the same time as far as the worker has slots.
    @task(retries=2)
    def press(order):
        for number in range(1, order["count"] + 1):
            print(f"pressed {order['part']} {number} of {order['count']}")
        return order["count"]

    @task.branch
    def inspect(counts):
        print(f"{sum(counts)} parts in the batch")
        limit = int(Variable.get("press_line_batch_limit", default=20))
        return "pack" if sum(counts) <= limit else "rework"

    @task.bash
    def pack():
        return "echo packed at $(date +%H:%M:%S)"

    @task
    def rework():
        print("too many parts for one batch")

    orders = read_orders()
    check_press >> orders
    inspect(press.expand(order=orders)) >> [pack(), rework()]


press_line()
