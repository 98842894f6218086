"""A run whose tasks last as long as a test wants."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_demo.platform import Platform
from edge_demo.processes import wait_until


class HeldRun:
    """A run of one of the `hold` DAGs, whose tasks run until they are released."""

    def __init__(self, platform: Platform, shared: Path, dag_id: str, run_id: str) -> None:
        self.platform = platform
        self.dag_id = dag_id
        self.run_id = run_id
        self.folder = shared / run_id
        platform.wait_dags([dag_id])
        platform.airflow.unpause(dag_id)
        platform.airflow.trigger(dag_id, run_id=run_id)

    def notes(self, task: str, word: str) -> list[list[str]]:
        """Return the starts or ends that a task has noted, each as [try number, process id]."""
        file = self.folder / task
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(word)]

    def wait_for(self, word: str, tasks: Sequence[str], times: int = 1, timeout_s: float = 60) -> None:
        """Wait until each task has noted its start (or end) `times` times."""
        wait_until(lambda: all(len(self.notes(task, word)) >= times for task in tasks), f"{tasks} {word}", timeout_s)

    def release(self) -> None:
        """Let the tasks end."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "release").touch()

    def finish(self, each_turn: Callable[[], object] = lambda: None) -> str:
        """Release the tasks, wait for the run and return its state."""
        self.release()
        return self.platform.airflow.wait_for_run(self.dag_id, self.run_id, 90, each_turn)

    def jobs(self) -> Sequence[Any]:
        """Return the rows of the run's jobs."""
        return self.platform.rows(
            "SELECT * FROM edge.job WHERE run_id = :run ORDER BY task_id, try_number", run=self.run_id
        )

    def log_lines(self, task: str, try_number: int = 1) -> list[str]:
        """Return the numbered lines in a task's log, as Airflow's REST API gives them."""
        events = self.platform.airflow.log_events(self.dag_id, self.run_id, task, try_number)
        return [event for event in events if event.startswith("line ")]

    def assert_ran_once_with_whole_log(self, tasks: Sequence[str]) -> None:
        """Check that each task was started once, and that its log has every line that it printed, once and in order."""
        for task in tasks:
            assert len(self.notes(task, "start")) == len(self.notes(task, "end")) == 1, task
            printed = self.platform.airflow.xcom(self.dag_id, self.run_id, task)
            wait_until(lambda task=task, n=printed: len(self.log_lines(task)) >= n, f"log of {task}", 10)  # type: ignore[misc]
            assert self.log_lines(task) == [f"line {number}" for number in range(printed)]
