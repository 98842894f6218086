"""The entry for workers outside the cluster: nginx, configured from Ingresses as an ingress controller does."""

from pathlib import Path

from edge_testing.cluster.choice import Cluster
from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.certificates import write_server_certificate
from edge_testing.release.namespace import Namespace
from edge_testing.waiting import eventually

TLS_SECRET = "edge-tls"
PORT = 8443
ANNOTATION = "nginx.ingress.kubernetes.io/"
DIRECTIVES = {
    "proxy-read-timeout": "proxy_read_timeout {}s",
    "proxy-send-timeout": "proxy_send_timeout {}s",
    "proxy-body-size": "client_max_body_size {}",
}
"""nginx directives of ingress-nginx annotations; nginx's own defaults are small."""

FRAME = """\
pid /tmp/nginx.pid;
events {{}}
http {{
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  map $http_upgrade $connection_wanted {{ default upgrade; '' close; }}
{servers}}}
"""
SERVER = """\
  server {{
    listen {port} ssl;
    server_name {host};
    ssl_certificate /etc/tls/tls.crt;
    ssl_certificate_key /etc/tls/tls.key;
{settings}{locations}  }}
"""
LOCATION = """\
    location {path} {{
      proxy_pass http://{address};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_wanted;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
"""


NAME = "edge"


def host(namespace: str) -> str:
    """Return the host name of the edge API for other clusters: the only one that a site is given."""
    return f"{NAME}.{namespace}.svc.cluster.local"


def nginx_config(ingresses: list[Obj], services: dict[str, Obj]) -> str:
    """Return the nginx configuration of Ingresses; `services` are the namespace's Services by name."""
    servers = [_server(ingress, rule, services) for ingress in ingresses for rule in ingress["spec"]["rules"]]
    return FRAME.format(servers="".join(servers))


def _server(ingress: Obj, rule: Obj, services: dict[str, Obj]) -> str:
    (tls,) = ingress["spec"]["tls"]
    assert tls == {"hosts": [rule["host"]], "secretName": TLS_SECRET}
    annotations = ingress["metadata"].get("annotations") or {}
    given = {name.removeprefix(ANNOTATION): value for name, value in annotations.items() if name.startswith(ANNOTATION)}
    settings = "".join(f"    {DIRECTIVES[name].format(value)};\n" for name, value in given.items())
    locations = "".join(_location(path, services) for path in rule["http"]["paths"])
    return SERVER.format(port=PORT, host=rule["host"], settings=settings, locations=locations)


def _location(path: Obj, services: dict[str, Obj]) -> str:
    backend = path["backend"]["service"]
    spec = services[backend["name"]]["spec"]
    (port,) = (port["port"] for port in spec["ports"] if port["name"] == backend["port"]["name"])
    return LOCATION.format(path=path["path"], address=f"{spec['clusterIP']}:{port}")


def make_certificates(site: Namespace, folder: Path) -> Path:
    """Create a private CA and a certificate; return the path of the CA's certificate."""
    write_server_certificate(folder, "entry", (), (host(site.namespace),))
    files = (f"--cert={folder / 'entry.crt'}", f"--key={folder / 'entry.key'}")
    site.kubectl("create", "secret", "tls", TLS_SECRET, *files)
    return folder / "ca.crt"


def open_entry(site: Namespace, cluster: Cluster) -> None:
    """Start nginx for the namespace's Ingresses, and wait until it is ready."""
    services = {service["metadata"]["name"]: service for service in site.get("services")["items"]}
    config = nginx_config(site.get("ingresses.networking.k8s.io")["items"], services)
    site.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "entry"}, "data": {"nginx.conf": config}},
        _service(NAME),
        _pod(f"{cluster.registry}/nginx:1"),
    )
    eventually(lambda: _ready(site), "nginx takes calls", 60, lambda: site.try_kubectl("logs", "entry").stdout)


def _ready(site: Namespace) -> bool:
    statuses = site.get("pod", "entry")["status"].get("containerStatuses") or []
    return bool(statuses) and all(status["ready"] for status in statuses)


def _service(name: str) -> Obj:
    spec = {"selector": {"app": "entry"}, "ports": [{"port": 443, "targetPort": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _pod(image: str) -> Obj:
    container = {
        "name": "nginx",
        "image": image,
        "command": ["nginx", "-e", "stderr", "-c", "/etc/entry/nginx.conf", "-g", "daemon off;"],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "entry", "mountPath": "/etc/entry"}, {"name": "tls", "mountPath": "/etc/tls"}],
    }
    volumes = [
        {"name": "entry", "configMap": {"name": "entry"}},
        {"name": "tls", "secret": {"secretName": TLS_SECRET}},
    ]
    security = {"runAsUser": 50000, "runAsGroup": 50000, "fsGroup": 50000}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "entry", "labels": {"app": "entry"}},
        "spec": {"securityContext": security, "containers": [container], "volumes": volumes},
    }
