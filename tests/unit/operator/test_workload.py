"""Pods of workers: the CA certificates that they trust, and what is shown of a pod that keeps failing."""

from pathlib import Path
from typing import Any

import pytest

from edge_operator.ca_bundle import CA_BYTES_MAX, CaBundleError, read_ca_bundle
from edge_operator.desired.observed_pod import pod_reason, read_pod
from edge_operator.desired.workload import PodDefaults, pod_template
from edge_testing.kubernetes.certificates import write_server_certificate
from edge_testing.operator.builders import make_worker

REFUSED = "The join token was refused: make a new one."


def template(ca_bundle: str | None, api_url: str = "https://api") -> dict[str, Any]:
    worker = make_worker()
    return pod_template(worker, worker.spec(), PodDefaults("image:1", api_url, 45, ca_bundle))


def test_only_the_join_token_of_the_secret_is_mounted() -> None:
    (secret,) = (volume["secret"] for volume in template(None)["spec"]["volumes"] if "secret" in volume)
    assert secret["secretName"] == "edgeworker-plant-7"
    assert secret["items"] == [{"key": "join-token", "path": "join-token"}]


def test_a_worker_gets_the_ca_bundle_as_a_file() -> None:
    made = template("PEM")
    (container,) = made["spec"]["containers"]
    (volume,) = (volume for volume in made["spec"]["volumes"] if "downwardAPI" in volume)
    (item,) = volume["downwardAPI"]["items"]
    annotation = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    assert made["metadata"]["annotations"][annotation] == "PEM"
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == volume["name"])
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert env["EDGE_WORKER_CA_BUNDLE"] == f"{mount['mountPath']}/{item['path']}"


@pytest.mark.parametrize(
    ("api_url", "allowed"),
    [
        ("http://edge-edge-api.airflow.svc:8800", True),
        ("http://edge-edge-api.airflow.svc.cluster.local:8800", True),
        ("http://edge-edge-api:8800", True),
        ("http://edge.example.com", False),
        ("http://10.0.0.7:8800", False),
        ("https://edge-edge-api.airflow.svc:8800", False),
    ],
)
def test_plain_http_is_allowed_inside_the_cluster_only(api_url: str, allowed: bool) -> None:
    (container,) = template(None, api_url)["spec"]["containers"]
    assert ("EDGE_WORKER_ALLOW_PLAIN_HTTP" in {variable["name"] for variable in container["env"]}) is allowed


def test_without_a_ca_bundle_nothing_is_mounted() -> None:
    (container,) = template(None)["spec"]["containers"]
    assert "EDGE_WORKER_CA_BUNDLE" not in {variable["name"] for variable in container["env"]}
    assert not [volume for volume in template(None)["spec"]["volumes"] if "downwardAPI" in volume]


def test_another_ca_bundle_takes_a_new_pod() -> None:
    hashes = {template(bundle)["metadata"]["annotations"]["airflow-edge.io/template-hash"] for bundle in "ab"}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("waiting", "message", "shown"),
    [
        ({"reason": "CrashLoopBackOff", "message": "back-off 10s"}, f"starting\n{REFUSED}\n", REFUSED),
        ({"reason": "CrashLoopBackOff", "message": "back-off 10s"}, None, "back-off 10s"),
        ({"reason": "ErrImagePull", "message": "no such image\nat all"}, None, "no such image"),
        ({"reason": "ImagePullBackOff"}, None, "see kubectl describe pod"),
        # The last exit message of a container is not the reason why its image can't be pulled.
        ({"reason": "ErrImagePull", "message": "no such image"}, REFUSED, "no such image"),
    ],
)
def test_a_failing_pod_shows_its_last_message(waiting: dict[str, str], message: str | None, shown: str) -> None:
    ended = {"terminated": {"exitCode": 2, "message": message}} if message else {}
    container = {"name": "worker", "state": {"waiting": waiting}, "lastState": ended}
    pod = {
        "metadata": {"name": "edgeworker-w-0", "uid": "u"},
        "status": {"phase": "Running", "containerStatuses": [container]},
    }
    reason = pod_reason([read_pod(pod)])
    assert reason is not None
    assert reason[0] == "PodFailing"
    assert reason[1] == f"Pod edgeworker-w-0: {waiting['reason']}: {shown}"


def test_a_ca_bundle_is_read(tmp_path: Path) -> None:
    write_server_certificate(tmp_path, "server", (), ["localhost"])
    assert read_ca_bundle(tmp_path / "ca.crt") == (tmp_path / "ca.crt").read_text()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "No such file"),
        ("", "can't be read|no CA certificate"),
        ("not PEM", "can't be read|no CA certificate"),
        ("ä", "can't be read"),
        ("TOO LARGE", f"{CA_BYTES_MAX} at most"),
    ],
)
def test_an_unusable_ca_bundle_is_refused(tmp_path: Path, content: str | None, shown: str) -> None:
    path = tmp_path / "bundle.crt"
    if content == "TOO LARGE":
        write_server_certificate(tmp_path, "server", (), ["localhost"])
        content = (tmp_path / "ca.crt").read_text() + "\n" * CA_BYTES_MAX
    if content is not None:
        path.write_text(content)
    with pytest.raises(CaBundleError, match=shown) as caught:
        read_ca_bundle(path)
    assert "EDGE_OPERATOR_CA_BUNDLE" in str(caught.value)


@pytest.mark.parametrize(("seconds", "expected"), [(None, None), (0, "0"), (3600, "3600")])
def test_a_worker_has_the_outage_tolerance_of_its_spec(seconds: int | None, expected: str | None) -> None:
    given: dict[str, Any] = {} if seconds is None else {"outageToleranceSeconds": seconds}
    worker = make_worker(**given)
    made = pod_template(worker, worker.spec(), PodDefaults("image:1", "https://api", 45, None))
    env = {variable["name"]: variable["value"] for variable in made["spec"]["containers"][0]["env"]}
    assert env.get("EDGE_WORKER_OUTAGE_TOLERANCE_S") == expected
