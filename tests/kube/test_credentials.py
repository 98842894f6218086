"""The operator's credentials in a pod: the files of its service account, which the kubelet replaces."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kubernetes.aio.config import incluster_config

from edge_operator.kube.client import WORKERS, KubeClient, KubeError
from edge_testing.operator.site import SERVICE_ACCOUNT, Site


async def test_token_of_the_pod_is_used_and_reread(
    starting_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = starting_site
    token = tmp_path / "token"
    address = urlsplit(site.cluster.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(site.cluster.folder / "ca.crt"))
    # The file is read once a minute.
    at_once = property(lambda _: timedelta(0), lambda *_: None)
    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_token_refresh_period", at_once, raising=False)
    good = site.cluster.service_account_token(site.namespace, SERVICE_ACCOUNT)
    token.write_text(good)
    async with KubeClient(None) as kube:
        assert await kube.list(WORKERS, site.namespace) == []
        assert (await kube.credentials()).token == good
        token.write_text("replaced")
        with pytest.raises(KubeError, match="Unauthorized"):
            await kube.list(WORKERS, site.namespace)
        assert (await kube.credentials()).token == "replaced"
        token.write_text(good)
        assert await kube.list(WORKERS, site.namespace) == []
