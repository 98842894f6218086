"""Lease folders: everything written is read back, and foreign or damaged files do no harm."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.host.files import read_json, write_json
from edge_worker.logs.cursor import Hole, LogCursor, read_progress, write_progress
from edge_worker.tasks.outcome import Outcome, read_outcome, write_outcome
from edge_worker.tasks.spool import JobInfo, LeaseFolder, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "leases").mkdir()
    return Spool(tmp_path / "leases")


def job() -> JobInfo:
    return JobInfo(uuid4(), uuid4(), "task", 2, "dag_id=d/attempt=1.log")


def test_leases_are_recovered_with_everything_written(spool: Spool) -> None:
    info = job()
    folder = spool.folder(info.lease_id)
    folder.create(info)
    write_outcome(folder.root, Outcome("failed", 3, "why"))
    folder.write_modules("task", ["a", "b"])
    folder.write_modules("supervisor", ["b", "c"])
    write_progress(folder.log_progress, LogCursor(acked=9000, freed=4096, hole=Hole(9500, 9900)))
    ((found, again),) = spool.recover()
    assert found == info
    assert read_outcome(again.root) == Outcome("failed", 3, "why")
    assert again.read_modules() == {"a", "b", "c"}
    cursor = read_progress(again.log_progress)
    assert (cursor.acked, cursor.freed, cursor.hole) == (9000, 4096, Hole(9500, 9900))


def test_the_workload_is_never_written(spool: Spool, tmp_path: Path) -> None:
    info = job()
    spool.folder(info.lease_id).create(info)
    (written,) = (tmp_path / "leases").rglob("*.json")
    assert set(json.loads(written.read_text())) == {"lease_id", "job_id", "kind", "slots", "log_path"}
    assert written.stat().st_mode & 0o077 == 0


def test_folders_without_a_readable_job_are_deleted(spool: Spool, tmp_path: Path) -> None:
    good, foreign = job(), job()
    spool.folder(good.lease_id).create(good)
    LeaseFolder(tmp_path / "leases" / "renamed").create(foreign)
    (tmp_path / "leases" / str(uuid4())).mkdir()
    torn = tmp_path / "leases" / str(uuid4())
    torn.mkdir()
    (torn / "job.json").write_text('{"lease_id": ')
    assert [found for found, _ in spool.recover()] == [good]
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [str(good.lease_id)]


def test_folder_that_cannot_be_read_is_left_alone(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    good, shut = job(), job()
    spool.folder(good.lease_id).create(good)
    spool.folder(shut.lease_id).create(shut)
    file = spool.folder(shut.lease_id).root / "job.json"
    file.unlink()
    file.mkdir()  # a file mode would not stop root
    assert [found for found, _ in spool.recover()] == [good]
    assert str(shut.lease_id) in caplog.text
    assert file.exists()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_damaged_files_count_as_missing(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = LeaseFolder(tmp_path_factory.mktemp("lease"))
    for name in ("job.json", "outcome.json", "modules-task.json", "log.json"):
        (folder.root / name).write_bytes(content)
    assert folder.read_job() is None
    assert read_outcome(folder.root) is None
    assert all(isinstance(name, str) for name in folder.read_modules())
    assert read_progress(folder.log_progress).acked >= 0


@pytest.mark.parametrize("path", ["/etc/passwd", "../../x.log", "a/../../../x", "", None])
def test_log_paths_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path, path: str | None) -> None:
    assert LeaseFolder(tmp_path).log_file(path) is None


def test_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1}, durable=True)
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
