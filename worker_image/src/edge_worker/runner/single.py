"""One task in an interpreter of its own: reads its order from stdin, runs it, writes the outcome.

python -m edge_worker.runner.single
"""

import json
import os
import sys
from typing import Any

from edge_worker.runner.task import Order, execute, lead_process_tree, run_and_record


def main() -> None:
    """Run the task."""
    message: dict[str, Any] = json.load(sys.stdin)
    os.set_inheritable(message["lock_fd"], False)
    lead_process_tree(os.getppid())
    run_and_record(Order.from_message(message), _execute)


def _execute(order: Order) -> int:
    # Not at the top: if Airflow cannot be imported, that becomes the outcome.
    from edge_worker.runner import warm  # noqa: PLC0415

    warm.adapt_airflow()
    warm.log_problems_only()
    return execute(order)


if __name__ == "__main__":
    main()
