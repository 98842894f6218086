"""The objects of each installation mode, and the references between them."""

import json

import pytest
import yaml

from edge_api.settings import ApiSettings
from edge_testing.chart.render import NAMESPACE, Rendered, containers, env, image, render
from edge_testing.repository import CHART

AIRFLOW = {"edge-api-server", "edge-scheduler", "edge-dag-processor", "edge-triggerer"}


def created_secrets(made: Rendered) -> list[str]:
    """Return the Secrets that the hook creates."""
    arguments = [pod["containers"][0]["args"] for name, pod in made.pods() if name == "Job/edge-secrets"]
    return [part for each in arguments for part in each[each.index("--database-host") + 2 :]]


def test_platform_is_complete() -> None:
    made = render("platform")
    assert set(made.kind("Deployment")) == {*AIRFLOW, "edge-edge-api", "edge-operator"}
    assert set(made.kind("StatefulSet")) == {"edge-postgresql"}
    assert created_secrets(made) == [
        "airflow",
        "database",
        "edge-api-database",
        "operator-credential",
        "fleet-page-credential",
    ]
    assert set(made.kind("Service")) == {
        *("edge-api-server", "edge-edge-api", "edge-edge-api-sites", "edge-operator", "edge-postgresql")
    }
    for optional in ("Ingress", "NetworkPolicy", "HorizontalPodAutoscaler", "EdgeWorkerPool", "ServiceMonitor"):
        assert not made.kind(optional)


def test_existing_airflow_gets_the_edge_parts_only() -> None:
    made = render("existing")
    assert set(made.kind("Deployment")) == {"edge-edge-api", "edge-operator"}
    assert not made.kind("StatefulSet")
    assert created_secrets(made) == []
    pod = made.one("Deployment", "edge-edge-api")["spec"]["template"]["spec"]
    assert env(pod["containers"][0])["EDGE_API_DATABASE_URL"] == ("edge-api-database", "connection")
    settings = made.one("ConfigMap", "edge-edge-api")["data"]
    assert settings["EDGE_API_EXECUTION_API_URL"] == "http://airflow-api-server.airflow.svc:8080/execution/"
    (rule,) = made.one("Ingress", "edge-ingress")["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/edge_worker"]


def test_remote_is_operator_and_pools() -> None:
    made = render("remote")
    assert set(made.kind("Deployment")) == {"edge-operator"}
    assert created_secrets(made) == []
    assert {name for name, _ in made.pods()} == {
        *("Deployment/edge-operator", "Pod/edge-test"),
        *("Job/edge-crds", "Job/edge-delete-workers", "Job/edge-release-workers"),
    }
    settings = made.one("ConfigMap", "edge-operator")["data"]
    assert settings["EDGE_OPERATOR_API_URL"] == "https://edge.example.com"
    (credential, _) = made.one("Deployment", "edge-operator")["spec"]["template"]["spec"]["volumes"]
    assert credential["secret"]["secretName"] == "operator-credential"
    pool = made.one("EdgeWorkerPool", "north")["spec"]
    assert pool["autoscaling"] == {"minReplicas": 1, "maxReplicas": 10}
    assert "replicas" not in pool
    assert pool["template"]["spec"]["dagBundles"][0]["name"] == "dags-folder"


def test_the_operator_trusts_a_private_ca() -> None:
    made = render("remote", "--set", "controlPlane.caSecret=company")
    settings = made.one("ConfigMap", "edge-operator")["data"]
    pod = made.one("Deployment", "edge-operator")["spec"]["template"]["spec"]
    (volume,) = (volume for volume in pod["volumes"] if volume.get("secret", {}).get("secretName") == "company")
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"])
    assert settings["EDGE_OPERATOR_CA_BUNDLE"] == f"{mount['mountPath']}/ca.crt"
    assert "EDGE_OPERATOR_CA_BUNDLE" not in render("remote").one("ConfigMap", "edge-operator")["data"]


def test_the_database_is_prepared_in_order() -> None:
    steps = [container["args"] for container in containers(render("platform").migration()["spec"]["template"]["spec"])]
    assert [step[:3] for step in steps] == [
        ["edge-api", "db", "wait"],
        ["airflow", "db", "migrate"],
        *(["edge-api", "credential", "ensure"] for _ in ("operator", "fleet page")),
        # Last, since the edge API waits for this.
        ["edge-api", "db", "grant-role"],
    ]
    steps = [container["args"] for container in containers(render("existing").migration()["spec"]["template"]["spec"])]
    assert steps[1] == ["edge-api", "db", "upgrade"]


@pytest.mark.parametrize(
    "change",
    [
        "database.pod.nodeSelector.disk=ssd",
        "database.pod.labels.team=a",
        "database.pod.priorityClassName=high",
        "edgeApi.image.tag=v2",
    ],
)
def test_a_changed_job_has_another_name(change: str) -> None:
    """Jobs are immutable, and a tool that only renders has the same revision each time."""
    before, after = render("platform").migration(), render("platform", "--set", change).migration()
    assert before["spec"]["template"] != after["spec"]["template"]
    assert before["metadata"]["name"] != after["metadata"]["name"]
    other = render("platform", "--set", "edgeApi.replicas=5").migration()
    assert other["metadata"]["name"] == before["metadata"]["name"]


def test_only_the_api_server_has_the_credential_of_the_fleet_page() -> None:
    made = render("platform")
    secret = ("edge-fleet-page-credential", "token")
    holders = {name for name, pod in made.pods() for container in containers(pod) if secret in env(container).values()}
    assert holders == {"Deployment/edge-api-server"}
    settings = made.one("ConfigMap", "edge-airflow")["data"]
    assert settings["AIRFLOW__EDGE__ADMIN_API_URL"].startswith("http://edge-edge-api.")
    assert settings["AIRFLOW__EDGE__API_URL"].endswith(":8801")
    (ensure,) = (
        each["args"]
        for each in containers(made.migration()["spec"]["template"]["spec"])
        if "--on-behalf" in each["args"]
    )
    assert ensure[ensure.index("--label") + 1] == "fleet page"
    given = (
        "--set",
        "airflow.apiServer.fleetPage.existingSecret=mine",
        "--set",
        "airflow.apiServer.fleetPage.existingSecretKey=key",
    )
    given_pod = render("platform", *given).one("Deployment", "edge-api-server")["spec"]["template"]["spec"]
    assert env(given_pod["containers"][0])["AIRFLOW__EDGE__ADMIN_TOKEN"] == ("mine", "key")


def test_only_who_migrates_and_airflow_itself_have_the_owners_url() -> None:
    made = render("platform")
    owner, role = ("edge-database", "url"), ("edge-edge-api-database", "url")
    holders = {name for name, pod in made.pods() for container in containers(pod) if owner in env(container).values()}
    job = f"Job/{made.migration()['metadata']['name']}"
    assert holders == {job, *(f"Deployment/{part}" for part in AIRFLOW)}
    (grants,) = made.migration()["spec"]["template"]["spec"]["containers"]
    assert env(grants) == {"EDGE_API_DATABASE_URL": owner, "EDGE_API_ROLE_URL": role}


def test_names_that_the_operators_workers_may_use() -> None:
    def options(*values: str) -> list[str]:
        job = render("platform", *values).migration()["spec"]["template"]["spec"]
        (ensure,) = (each["args"] for each in containers(job) if "operator" in each["args"])
        return [each for each in ensure if each.startswith(("--connections", "--variables"))]

    assert options() == []
    given = '{"allowedConnections": ["press_db", "press_*"], "allowedVariables": []}'
    assert options("--set-json", f"operator={given}") == ["--connections=press_db,press_*", "--variables="]
    assert options("--set-json", 'operator.allowedVariables=["*"]') == ["--variables=*"]


def test_with_secrets_of_yours_the_chart_makes_none() -> None:
    made = render("existing", "--set", "operator.existingSecret=mine,operator.existingSecretKey=credential")
    assert created_secrets(made) == []
    job = made.migration()["spec"]["template"]["spec"]
    (ensure,) = (container for container in containers(job) if "ensure" in container["args"])
    assert ensure["args"][-1] == "/run/credential/credential"
    (credential,) = (volume for volume in job["volumes"] if volume["name"] == "operator-credential")
    assert credential["secret"]["secretName"] == "mine"
    settings = made.one("ConfigMap", "edge-operator")["data"]
    assert settings["EDGE_OPERATOR_ADMIN_TOKEN_FILE"] == "/run/edge-operator/credential"


def test_without_a_role_of_its_own_the_edge_api_has_the_owners_url() -> None:
    made = render("existing", "--set", "database.apiRole.existingSecret=")
    pod = made.one("Deployment", "edge-edge-api")["spec"]["template"]["spec"]
    assert env(pod["containers"][0])["EDGE_API_DATABASE_URL"] == ("airflow-database", "connection")
    assert "grant-role" not in str(made.migration())


def test_dags_reach_airflow_and_the_workers_of_pools() -> None:
    made = render("everything")
    for name in ("edge-dag-processor", "edge-triggerer", "edge-scheduler"):
        pod = made.one("Deployment", name)["spec"]["template"]["spec"]
        (dags,) = (volume for volume in pod["volumes"] if volume["name"] == "dags")
        assert [source["configMap"]["name"] for source in dags["projected"]["sources"]] == [
            "my-dags",
            "edge-airflowignore",
        ]
    template = made.one("EdgeWorkerPool", "north")["spec"]["template"]["spec"]["template"]
    assert template["volumes"] == [{"name": "dags", "configMap": {"name": "my-dags"}}]
    assert template["volumeMounts"][0]["mountPath"] == "/opt/airflow/dags"
    assert env(template) == {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,edge_provider.executor.EdgeExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": "/opt/airflow/dags",
        "MINE": "3",
    }
    claim = render("platform", "--set", "dags.existingClaim=shared", "--set", "workerPools.a.replicas=1")
    template = claim.one("EdgeWorkerPool", "a")["spec"]["template"]["spec"]["template"]
    assert template["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared", "readOnly": True}


def test_bundles_are_the_same_in_airflow_and_in_pools() -> None:
    bundles = [{"name": "dags-folder", "classpath": "a.B", "kwargs": {"path": "/x"}}]
    made = render("platform", "--set-json", f"dags.bundles={json.dumps(bundles)}", "--set", "workerPools.a.replicas=1")
    settings = made.one("ConfigMap", "edge-airflow")["data"]
    assert json.loads(settings["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]) == bundles
    assert made.one("EdgeWorkerPool", "a")["spec"]["template"]["spec"]["dagBundles"] == bundles


def test_images() -> None:
    made = render("everything")
    pods = dict(made.pods())
    prefix = "registry.example.com/team/custom"
    assert image(pods["Deployment/edge-edge-api"]) == f"{prefix}/edge-api:1.2"
    assert image(pods["Deployment/edge-scheduler"]) == f"{prefix}/airflow:1.1"
    assert image(pods["StatefulSet/edge-postgresql"]) == f"{prefix}/postgres:17"
    settings = made.one("ConfigMap", "edge-operator")["data"]
    assert settings["EDGE_OPERATOR_WORKER_IMAGE"] == f"{prefix}/worker:1.4"
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert image(dict(render("platform").pods())["Deployment/edge-operator"]) == f"airflow-edge/operator:{version}"
    for name, pod in pods.items():
        assert pod["imagePullSecrets"] == [{"name": "puller"}], name


def test_settings_become_variables_as_written() -> None:
    made = render("everything")
    settings = made.one("ConfigMap", "edge-edge-api")["data"]
    assert settings["EDGE_API_HEARTBEAT_INTERVAL_S"] == "20"
    assert settings["EDGE_API_LOG_WINDOW_BYTES"] == "4194304"
    assert settings["EDGE_API_FORWARDED_ALLOW_IPS"] == "10.1.0.0/16"
    airflow = made.one("ConfigMap", "edge-airflow")["data"]
    assert airflow["AIRFLOW__CORE__PARALLELISM"] == "2000000"
    assert airflow["AIRFLOW__CORE__UNIT_TEST_MODE"] == "false"
    assert made.one("ConfigMap", "edge-operator")["data"]["EDGE_OPERATOR_NAMESPACES"] == "air,site"


def test_airflow_config_overrides_the_defaults() -> None:
    made = render("platform", "--set", "airflow.config.core.auth_manager=my.Manager")
    assert made.one("ConfigMap", "edge-airflow")["data"]["AIRFLOW__CORE__AUTH_MANAGER"] == "my.Manager"


def test_settings_of_pods_reach_each_component() -> None:
    made = render("everything")
    for name, obj in (*made.kind("Deployment").items(), *made.kind("StatefulSet").items()):
        template = obj["spec"]["template"]
        pod = template["spec"]
        assert template["metadata"]["labels"]["extra"] == "b", name
        assert template["metadata"]["annotations"]["note"] == "a", name
        assert pod["nodeSelector"] == {"disk": "ssd"}, name
        assert pod["tolerations"], name
        assert pod["affinity"], name
        assert pod["priorityClassName"] == "high", name
        (spread,) = pod["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert pod["containers"][0]["resources"]["requests"]["cpu"] == "100m", name
        if name != "edge-postgresql":
            assert env(pod["containers"][0])["FROM_POD"] == "2", name


def test_the_ingress_leads_to_all_that_workers_call() -> None:
    ingress = render("everything").one("Ingress", "edge-ingress")
    (rule,) = ingress["spec"]["rules"]
    leads = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}
    assert leads == {"/edge_worker": "edge-edge-api-sites", "/": "edge-api-server"}
    assert ingress["spec"]["tls"] == [{"hosts": ["edge.example.com"], "secretName": "edge-tls"}]
    assert int(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3600
    settings = render("everything").one("ConfigMap", "edge-edge-api")["data"]
    assert settings["EDGE_API_EXECUTION_API_URL"].startswith("http://edge-api-server.")


def test_sites_need_one_path() -> None:
    made = render("platform", "--set=ingress.enabled=true,ingress.host=edge.example.com")
    (rule,) = made.one("Ingress", "edge-ingress")["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/edge_worker"]


@pytest.mark.parametrize("mode", ["platform", "existing", "everything"])
def test_only_the_site_port_of_the_edge_api_is_reachable_from_outside(mode: str) -> None:
    made = render(mode, "--set", "ingress.enabled=true,ingress.host=edge.example.com")
    pod = made.one("Deployment", "edge-edge-api")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    settings = made.one("ConfigMap", "edge-edge-api")["data"]
    assert (settings["EDGE_API_PORT"], settings["EDGE_API_SITE_PORT"]) == (str(ports["http"]), str(ports["sites"]))
    # Whatever type the Service for sites has, the one with the whole admin API stays inside the cluster.
    inside, sites = (made.one("Service", name)["spec"] for name in ("edge-edge-api", "edge-edge-api-sites"))
    assert (inside["type"], sites["type"]) == ("ClusterIP", "LoadBalancer" if mode == "everything" else "ClusterIP")
    assert [port["targetPort"] for port in (*inside["ports"], *sites["ports"])] == ["http", "sites"]
    assert inside["selector"] == sites["selector"]
    (rule,) = made.one("Ingress", "edge-ingress")["spec"]["rules"]
    (backend,) = (path["backend"]["service"] for path in rule["http"]["paths"] if path["path"] == "/edge_worker")
    assert backend == {"name": "edge-edge-api-sites", "port": {"name": "sites"}}
    probes = [pod[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == ["http"] * 3


def test_policies_select_every_pod_that_stays() -> None:
    made = render("everything")
    selected = {name.removeprefix("edge-") for name in made.kind("NetworkPolicy")}
    parts = {name.removeprefix("edge-") for name in (*made.kind("Deployment"), *made.kind("StatefulSet"))}
    assert selected == parts
    database = made.one("NetworkPolicy", "edge-postgresql")["spec"]
    assert "Egress" in database["policyTypes"]
    (rule,) = database["ingress"]
    (peer,) = rule["from"]
    (components,) = peer["podSelector"]["matchExpressions"]
    users = {
        obj["metadata"]["labels"]["app.kubernetes.io/component"]
        for obj in made.objects
        if obj["kind"] in ("Deployment", "Job")
        and "helm.sh/hook" not in obj["metadata"].get("annotations", {})
        and "-database" in str(obj["spec"])
    }
    assert set(components["values"]) == users


def test_who_reads_metrics_is_let_in_where_there_are_some() -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    client = {"namespaceSelector": {"matchLabels": {"name": "ingress"}}}
    for name, expected in {
        "edge-edge-api": [client, monitoring],
        "edge-operator": [monitoring],
        "edge-api-server": [client],
    }.items():
        rule, *others = render("everything").one("NetworkPolicy", name)["spec"]["ingress"]
        assert [peer for peer in rule["from"] if peer in (client, monitoring)] == expected, name
        for other in others:  # the port for sites has no metrics
            assert (client in other["from"], monitoring in other["from"]) == (True, False)


def test_whoever_calls_is_let_in_where_no_clients_are_named() -> None:
    made = render("platform", "--set", "networkPolicy.enabled=true")
    for name, ports in {"edge-edge-api": [8800, 8801], "edge-operator": [8080], "edge-api-server": [8080]}.items():
        expected = [{"ports": [{"port": port, "protocol": "TCP"}]} for port in ports]
        assert made.one("NetworkPolicy", name)["spec"]["ingress"] == expected


def test_notes_say_what_comes_next() -> None:
    # `helm template` has no notes; lint renders them with everything else, and an installation shows them.
    text = (CHART / "templates" / "NOTES.txt").read_text()
    for hint in ("get secret", "edge-api token create", "examples/edgeworker.yaml", "helm -n"):
        assert hint in text


def test_names_are_of_the_release() -> None:
    for mode in ("platform", "everything"):
        for obj in render(mode).objects:
            meta = obj["metadata"]
            assert meta["name"].startswith(("edge", "air-edge", "site-edge")) or obj["kind"] in (
                "EdgeWorkerPool",
                "ConfigMap",
            ), meta["name"]
            assert meta.get("namespace", NAMESPACE) in (NAMESPACE, "site")


def test_the_edge_api_has_memory_for_what_it_may_hold() -> None:
    """Beside its own 120 MB, and a batch of logs that the database driver has several copies of while it writes."""
    deployments = render("everything").kind("Deployment")
    resources = {
        name: deployments[name]["spec"]["template"]["spec"]["containers"][0]["resources"]
        for name in ("edge-edge-api", "edge-operator")
    }
    assert all({"requests", "limits"} <= each.keys() for each in resources.values())
    requested = int(resources["edge-edge-api"]["requests"]["memory"].removesuffix("Mi")) << 20
    assert requested >= ApiSettings.model_fields["held_bytes_max"].default + (224 << 20)
