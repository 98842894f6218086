"""The result file: what has run need not run again, and the table in the docs is made from it."""

from pathlib import Path

from edge_testing.faults import results
from edge_testing.faults.run import Result

GOOD = Result(seed=1, faults={"task killed": 2}, tasks=200, tries_lost=2, seconds=60)
BAD = Result(seed=2, faults={"task killed": 1}, tasks=200, tries_lost=1, seconds=60, violations=["lost"])


def test_a_seed_with_violations_runs_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for result in (GOOD, BAD):
        results.append(result, file)
    assert results.done(results.read(file)) == {1}
    results.append(Result(seed=2, faults={"task killed": 1}, tasks=200, tries_lost=1, seconds=60), file)
    assert results.done(results.read(file)) == {1, 2}
    table = results.table(results.read(file))
    assert "2 seeds, 400 tasks, 3 faults in 2 minutes" in table
    assert "| task killed | 3 | yes |" in table
    assert "violations: 0" in table


def test_the_table_in_the_docs_is_made_from_the_results() -> None:
    page = results.PAGE.read_text()
    assert page == results.with_table(page, results.table(results.read())), "run `make faults-table`"
