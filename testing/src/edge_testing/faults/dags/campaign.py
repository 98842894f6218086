"""Tasks that note from inside what happens to them: start, a line every 0.2 s, and the end.

Each execution has a file of its own. Its times are of the machine's monotonic clock, which all processes share.
"""

import json
import os
import random
import time
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator

FOLDER = Path(os.environ["CAMPAIGN_FOLDER"]) / "executions"
WORK = json.loads(os.environ["CAMPAIGN_WORK"])
TICK_S = 0.2


class Work(BaseOperator):
    """Print numbered lines for a while, which the seed decides; if `deferring`, half of them after a deferral."""

    def __init__(self, *, part=0, deferring=False, **arguments):
        super().__init__(**arguments)
        self.part = part
        self.deferring = deferring

    def execute(self, context):
        self._work(context["ti"], "a", "deferred" if self.deferring else "end")
        if self.deferring:
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="resume")

    def resume(self, context, event=None):
        self._work(context["ti"], "b", "end")

    def _work(self, ti, section, last_event):
        key = f"{ti.run_id}~{ti.task_id}~{ti.map_index}"
        duration_s = random.Random(f"{WORK['seed']} {key} {section}").uniform(0.2, 3)
        # One open, one write per line: a line is whole, or is not there.
        name = f"{key}~{ti.try_number}~{section}~{os.getpid()}~{time.monotonic_ns()}"
        notes = os.open(FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY)

        def note(event, line):
            facts = {"event": event, "at": time.monotonic_ns(), "line": line, "worker": os.environ["CAMPAIGN_WORKER"]}
            os.write(notes, json.dumps(facts).encode() + b"\n")

        line, end = 0, time.monotonic() + duration_s
        note("start", line)
        while time.monotonic() < end:
            print(f"line {section} {line}", flush=True)
            line += 1
            note("tick", line)
            time.sleep(TICK_S)
        note(last_event, line)


with DAG(
    "campaign",
    schedule=None,
    catchup=False,
    max_active_tasks=64,
    default_args={"retries": 30, "retry_delay": timedelta(seconds=1)},
):
    for chain in range(WORK["chains"]):
        before = None
        for link in range(WORK["chain_length"]):
            this = Work(task_id=f"chain_{chain}_{link}")
            if before is not None:
                before >> this
            before = this

    Work.partial(task_id="each").expand(part=list(range(WORK["mapped"])))

    for number in range(WORK["deferring"]):
        Work(task_id=f"defer_{number}", deferring=True)
