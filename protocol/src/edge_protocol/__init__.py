"""The wire between edge workers and the edge API, and the rules of jobs and workers as pure functions.

Everything here is data and decisions: no I/O, no clock, no dependency but pydantic. Both sides of the wire, the
store and the tests share it, so a rule is written once.
"""

from edge_protocol.job_state import JobState
from edge_protocol.worker_state import Desired, Observed, WorkerState, worker_state

__all__ = ["Desired", "JobState", "Observed", "WorkerState", "worker_state"]
