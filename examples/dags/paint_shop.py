"""A paint shop: the oven is heated, painted parts cure, a moody spray head needs three attempts, the oven is cooled.

Shows setup and teardown, retries, a deferrable task (it holds no slot while it waits) and a sensor in reschedule mode.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import dag, get_current_context, setup, task, teardown


@dag(schedule=None, tags=["factory"])
def paint_shop():
    @setup
    def heat_oven():
        print("oven at 180 degrees")
        return 180

    # Runs whatever happened to the tasks in between, since the oven was heated.
    @teardown
    def cool_oven(temperature):
        print(f"oven was at {temperature}, now cooling")

    @task(retries=2, retry_delay=timedelta(seconds=1))
    def spray():
        attempt = get_current_context()["ti"].try_number
        print(f"attempt {attempt}")
        if attempt < 3:
            raise RuntimeError("the spray head is clogged; cleaning it")
        return "red"

    # Waits in the triggerer. The worker's slot is free meanwhile.
    cure = TimeDeltaSensor(task_id="cure", delta=timedelta(seconds=10), deferrable=True)

    # Checks, gives its slot back, and checks again later.
    @task.sensor(mode="reschedule", poke_interval=1, timeout=60)
    def is_dry():
        started = get_current_context()["dag_run"].start_date
        return datetime.now(started.tzinfo) > started + timedelta(seconds=12)

    oven = heat_oven()
    cooled = cool_oven(oven)
    oven >> spray() >> cooled
    oven >> cure >> is_dry() >> cooled


paint_shop()
