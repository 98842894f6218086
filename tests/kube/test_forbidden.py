"""The cordon goes first: an apiserver that refuses the worker's objects prevents neither the cordon nor the status."""

from typing import Any

import pytest
from sqlalchemy import select

from edge_store.schema.tables import join_token
from edge_testing.kubernetes.api import Obj
from edge_testing.operator.site import Site
from edge_testing.waiting import eventually

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 2, "drainTimeoutSeconds": 20}


def forbid(site: Site, plural: str) -> None:
    """Take away the operator's rights on a kind."""

    def remove(rules: list[Obj]) -> None:
        rules[0]["rules"] = [rule for rule in rules[0]["rules"] if plural not in rule["resources"]]

    site.grant(change=remove)


@pytest.mark.parametrize("plural", ["secrets", "statefulsets"])
def test_worker_is_cordoned_and_its_status_written_although_its_objects_are_forbidden(site: Site, plural: str) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.operators[0].roles_were_away = True
    forbid(site, plural)
    if plural == "secrets":
        # Without its pod the worker may need another join token, so its Secret is read.
        site.node.schedules = False
        site.kubectl("delete", "pod", "edgeworker-plant-7-0", "--wait=false")
        eventually(lambda: (site.fleet("plant-7") or {}).get("state") == "offline", "the worker has disconnected")
        changed = SPEC
    else:
        changed = {**SPEC, "template": {"env": [{"name": "NEW", "value": "1"}]}}
    site.apply_worker("plant-7", annotations={"airflow-edge.io/maintenance": "fan"}, **changed)

    def comment() -> str | None:
        view = site.fleet("plant-7") or {}
        return (view.get("maintenance") or {}).get("comment")

    eventually(lambda: comment() == "fan", "the maintenance is requested")
    site.wait_state("plant-7", "offline maintenance" if plural == "secrets" else "maintenance mode")
    assert site.condition("plant-7", "Cordoned") == ("True", "Maintenance")
    # The refusal is shown, and the objects are updated once the right is back.
    site.wait_condition("plant-7", "Progressing", "Blocked")
    assert "forbidden" in site.wait_event("plant-7", "Blocked")
    site.grant()
    site.node.schedules = True
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/maintenance-")
    site.wait_condition("plant-7", "Progressing", "UpToDate", deadline_s=90)
    site.wait_ready("plant-7", deadline_s=90)


def test_join_tokens_that_can_not_be_stored_are_revoked(site: Site) -> None:
    def read_only(rules: list[Obj]) -> None:
        for rule in rules[0]["rules"]:
            if "secrets" in rule["resources"]:
                rule["verbs"] = ["get"]

    site.operators[0].roles_were_away = True
    site.grant(change=read_only)
    site.apply_worker("plant-7", **SPEC)

    def created() -> list[Any]:
        return site.db.rows(select(join_token.c.revoked_at))

    eventually(lambda: len(created()) > 1, "the operator has tried twice")
    eventually(lambda: all(row.revoked_at is not None for row in created()), "no token is left")
    site.wait_condition("plant-7", "Progressing", "Blocked")
    site.grant()
    site.wait_ready("plant-7", deadline_s=90)
