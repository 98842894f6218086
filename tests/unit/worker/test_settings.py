"""Settings from the environment and the command line."""

from pathlib import Path

import pytest

from edge_worker.errors import ConfigError
from edge_worker.settings import load_settings
from edge_worker.tasks.runners import runner_environ


def test_command_line_beats_environment_beats_default() -> None:
    environ = {"EDGE_WORKER_NAME": "from-env", "EDGE_WORKER_CONCURRENCY": "3", "EDGE_WORKER_QUEUES": "a, b"}
    settings = load_settings({"name": "from-line", "queues": None}, environ)
    assert (settings.name, settings.concurrency, settings.queues) == ("from-line", 3, ["a", "b"])
    assert settings.transport == "auto"


def test_empty_variable_counts_as_unset() -> None:
    assert load_settings({"name": "w"}, {"EDGE_WORKER_QUEUES": ""}).queues is None


def test_state_folder_is_one_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert load_settings({"name": "w"}, {}).state_folder == Path("/home/me/state/airflow-edge/w")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load_settings({"name": "w"}, {}).state_folder == Path("/var/lib/airflow-edge/w")
    assert load_settings({"name": "w", "state_dir": "/x"}, {}).state_folder == Path("/x")


def test_api_url_loses_its_last_slash() -> None:
    assert load_settings({"name": "w", "api_url": "https://x.example/"}, {}).api_url == "https://x.example"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drain_timeout_s", "-1"),
        ("kill_grace_s", "soon"),
        ("spool_max_bytes", "1000"),
        ("log_level", "LOUD"),
        ("api_url", "https://"),
        ("fork", "perhaps"),
    ],
)
def test_bad_value_is_named_with_its_variable(field: str, value: str) -> None:
    with pytest.raises(
        ConfigError, match=f"setting '{field}' \\(EDGE_WORKER_{field.upper()}\\) is not valid: '{value}'"
    ):
        load_settings({"name": "w"}, {f"EDGE_WORKER_{field.upper()}": value})


def test_long_value_is_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"name": "x" * 5000}, {})
    assert len(str(caught.value)) < 300


def test_runner_environment_has_no_join_token_and_the_bundle_for_the_execution_api_only() -> None:
    environ = runner_environ({"EDGE_WORKER_JOIN_TOKEN": "secret", "PATH": "/bin"}, "/ca.pem")
    direct = {
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    }
    assert environ == {"PATH": "/bin", "AIRFLOW__API__SSL_CA_FILE": "/ca.pem", **direct}
    assert runner_environ({"AIRFLOW__API__SSL_CA_FILE": "/mine.pem"}, "/ca.pem") == {
        "AIRFLOW__API__SSL_CA_FILE": "/mine.pem",
        **direct,
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"NO_PROXY": "plant.example"}, "plant.example,127.0.0.1"),
        ({"NO_PROXY": "ignored", "no_proxy": "plant.example"}, "plant.example,127.0.0.1"),
        ({"no_proxy": "localhost,127.0.0.1"}, "localhost,127.0.0.1"),
    ],
)
def test_calls_to_the_relay_go_to_no_proxy(environ: dict[str, str], expected: str) -> None:
    assert runner_environ(environ, None)["no_proxy"] == expected
