"""The Compose file for worker hosts: valid, hardened, and consistent with the worker and its image."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml

from edge_testing.hosts.unit_file import assignments
from edge_testing.repository import REPOSITORY
from edge_worker.settings import ENV_PREFIX, WorkerSettings

FOLDER = REPOSITORY / "worker_image"
# The schema of the Compose Specification (github.com/compose-spec/compose-spec, Apache License 2.0).
SCHEMA = Path(__file__).parent / "compose-spec.json"


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return content


def worker() -> dict[str, Any]:
    service: dict[str, Any] = compose()["services"]["worker"]
    return service


def test_it_is_valid() -> None:
    validator = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(compose())] == []
    broken = compose()
    broken["services"]["worker"]["read_onyl"] = True
    assert not validator.is_valid(broken)


def test_it_is_hardened() -> None:
    service = worker()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert not {"privileged", "network_mode", "pid", "ports", "user", "devices", "cap_add"} & service.keys()


def test_whatever_it_mounts_and_names_is_there() -> None:
    content, service = compose(), worker()
    token = service["environment"]["EDGE_WORKER_JOIN_TOKEN_FILE"]
    assert token == f"/run/secrets/{service['secrets'][0]}"
    assert set(service["secrets"]) == content["secrets"].keys()
    state = next(each.split(":")[1] for each in service["volumes"] if each.split(":")[0] in content["volumes"])
    # The image gives this folder to its user, so a new volume belongs to that user, too.
    assert f"--home-dir {state} --create-home" in (REPOSITORY / "Dockerfile").read_text()
    for variable in ("EDGE_WORKER_STATE_DIR", "AIRFLOW_HOME", "HOME"):
        assert service["environment"][variable].startswith(state)


def test_a_stop_is_given_the_time_to_drain() -> None:
    settings = WorkerSettings(name="w1")
    needed = settings.drain_timeout_s + settings.kill_grace_s + settings.flush_timeout_s
    granted = re.fullmatch(r"(\d+)s", worker()["stop_grace_period"])
    assert granted is not None
    assert needed < int(granted[1]) < needed + 120


def test_the_health_check_is_a_command_of_the_worker() -> None:
    command = worker()["healthcheck"]["test"]
    assert command[:3] == ["CMD", "edge-worker", "status"]


def test_all_variables_are_settings() -> None:
    example = [line.removeprefix("# ") for line in (FOLDER / "worker.env.example").read_text().splitlines()]
    ours = {name: value for name, value in assignments(example).items() if name.startswith(ENV_PREFIX)}
    ours |= {name: value for name, value in worker()["environment"].items() if name.startswith(ENV_PREFIX)}
    fields = {name.removeprefix(ENV_PREFIX).lower(): value for name, value in ours.items() if " " not in name}
    assert fields.keys() <= WorkerSettings.model_fields.keys()
    assert WorkerSettings(**fields).queues == ["press", "paint"]
