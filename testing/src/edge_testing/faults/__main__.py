"""`python -m edge_testing.faults SEEDS`: run the campaign, or go on where it stopped; `--table` updates the docs."""

import argparse
import shutil
import signal
import sys
import time
from types import FrameType

from edge_demo.processes import ProcessError
from edge_testing.faults import results
from edge_testing.faults.plan import full_plan
from edge_testing.faults.run import run_seed
from edge_testing.faults.site import new_folder
from edge_testing.repository import REPOSITORY

EVIDENCE = REPOSITORY / ".cache" / "faults"


def main() -> int:
    """Return 0 if no seed has a violation."""
    parser = argparse.ArgumentParser(prog="python -m edge_testing.faults", description=__doc__)
    parser.add_argument("seeds", nargs="?", type=_seeds, default="1-20", help="a seed, or a range such as 1-20")
    parser.add_argument("--table", action="store_true", help="only update the table in docs/reliability.md")
    arguments = parser.parse_args()
    if arguments.table:
        results.PAGE.write_text(results.with_table(results.PAGE.read_text(), results.table(results.read())))
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return max([_run(seed) for seed in arguments.seeds if seed not in results.done(results.read())], default=0)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped. The same command goes on with this seed.", file=sys.stderr)
        return 130


def _run(seed: int) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"seed {seed}  {text}", flush=True)

    folder = new_folder()
    evidence = EVIDENCE / f"seed-{seed}"
    try:
        result = run_seed(full_plan(seed), folder, evidence, say)
    except (ProcessError, TimeoutError) as error:
        say(f"The platform could not be started: {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results.append(result)
    for violation in result.violations:
        say(f"VIOLATION  {violation}")
    kept = f"; evidence in {evidence}" if result.violations else ""
    faults = sum(result.faults.values())
    say(f"{faults} faults, {len(result.violations)} violations, {time.monotonic() - began:.0f} s{kept}")
    return 1 if result.violations else 0


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed or a range such as 1-20")
    return range(int(first), int(last or first) + 1)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
