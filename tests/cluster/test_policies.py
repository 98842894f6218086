"""NetworkPolicies and their iptables rules. The end-to-end suite tests that the rules work."""

from typing import Any

import pytest

from edge_testing.cluster.policies import rules
from edge_testing.kubernetes.api import Obj

IN, OUT, REFUSE = "EDGE-TESTS-INGRESS", "EDGE-TESTS-EGRESS", "EDGE-TESTS-REFUSE"
ALL: Obj = {}
WEB, DB, OTHER, SCRAPER = "10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.5"


def _pod(namespace: str, address: str | None, phase: str = "Running", host: bool = False, **labels: str) -> Obj:
    meta = {"namespace": namespace, "labels": labels}
    return {"metadata": meta, "spec": {"hostNetwork": host}, "status": {"phase": phase, "podIP": address}}


PODS = [
    _pod("air", WEB, app="web", tier="front"),
    _pod("air", DB, app="db"),
    _pod("site", OTHER, app="web"),
    _pod("watch", SCRAPER, app="scraper"),
    # None of these has an address of its own.
    _pod("air", None, "Pending", app="web"),
    _pod("air", "10.244.0.8", "Succeeded", app="web"),
    _pod("air", "10.244.0.9", "Failed", app="web"),
    _pod("air", "172.31.255.1", host=True, app="web"),
]
NAMESPACES: list[Obj] = [
    {"metadata": {"name": "air"}},
    {"metadata": {"name": "site", "labels": {"kind": "remote"}}},
    {"metadata": {"name": "watch", "labels": {"kind": "monitoring", "team": "ops"}}},
]


def _policy(namespace: str = "air", **spec: Any) -> Obj:
    return {"metadata": {"namespace": namespace}, "spec": {"podSelector": ALL, **spec}}


def _made(*policies: Obj) -> list[str]:
    """Return the rules that policies add."""
    always = rules(PODS, NAMESPACES, []).splitlines()
    return [
        line.removeprefix("-A ") for line in rules(PODS, NAMESPACES, list(policies)).splitlines() if line not in always
    ]


def _isolated(chain: str, own: str, other: str, address: str, *passing: str) -> list[str]:
    start = f"{chain} {own} {address}"
    lines = [
        f"{start} {other} {address} -j RETURN",
        *(f"{start} {what} -j RETURN".replace("  ", " ") for what in passing),
    ]
    return [*lines, f"{start} -j {REFUSE}"]


def _closed_in(address: str, *passing: str) -> list[str]:
    return _isolated(IN, "-d", "-s", address, *passing)


def _closed_out(address: str, *passing: str) -> list[str]:
    return _isolated(OUT, "-s", "-d", address, *passing)


def test_without_policies_everything_passes() -> None:
    established = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    refused = "-j REJECT --reject-with icmp-admin-prohibited"
    assert rules(PODS, NAMESPACES, []).splitlines() == [
        "*filter",
        *(f":{chain} - [0:0]" for chain in (IN, OUT, REFUSE)),
        f"-A {IN} {established}",
        f"-A {OUT} {established}",
        *(f"-A {REFUSE} -s {address} {refused}" for address in (WEB, DB, OTHER, SCRAPER)),
        f"-A {REFUSE} -s 10.244.0.0/24 -j DROP",
        f"-A {REFUSE} {refused}",
        "COMMIT",
    ]


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (ALL, [WEB, DB]),
        ({"matchLabels": {"app": "web"}}, [WEB]),
        ({"matchLabels": {"app": "web", "tier": "back"}}, []),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "x"]}]}, [DB]),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back"]}]}, []),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, [DB]),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, [WEB]),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, [DB]),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, []),
    ],
)
def test_a_selected_pod_is_closed(selector: Obj, selected: list[str]) -> None:
    made = _made(_policy(podSelector=selector))
    assert made == [line for address in selected for line in _closed_in(address)]


@pytest.mark.parametrize(
    ("spec", "closed_in", "closed_out"),
    [
        ({}, True, False),
        ({"ingress": [ALL]}, True, False),
        ({"egress": []}, True, True),
        ({"policyTypes": ["Ingress"], "egress": []}, True, False),
        ({"policyTypes": ["Egress"]}, False, True),
        ({"policyTypes": ["Ingress", "Egress"]}, True, True),
    ],
)
def test_directions(spec: Obj, closed_in: bool, closed_out: bool) -> None:
    made = _made(_policy(podSelector={"matchLabels": {"app": "web"}}, **spec))
    assert (f"{IN} -d {WEB} -j {REFUSE}" in made, f"{OUT} -s {WEB} -j {REFUSE}" in made) == (closed_in, closed_out)


@pytest.mark.parametrize(
    ("rule", "passing"),
    [
        (ALL, [""]),
        ({"from": []}, [""]),
        ({"from": [{"podSelector": ALL}]}, [f"-s {WEB}", f"-s {DB}"]),
        ({"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}, [f"-s {WEB}"]),
        ({"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}, []),
        ({"from": [{"namespaceSelector": ALL}]}, [f"-s {one}" for one in (WEB, DB, OTHER, SCRAPER)]),
        ({"from": [{"namespaceSelector": {"matchLabels": {"kind": "monitoring"}}}]}, [f"-s {SCRAPER}"]),
        (
            {"from": [{"namespaceSelector": ALL, "podSelector": {"matchLabels": {"app": "web"}}}]},
            [f"-s {WEB}", f"-s {OTHER}"],
        ),
        (
            {"from": [{"namespaceSelector": {"matchLabels": {"kind": "remote"}}}, {"podSelector": ALL}]},
            [f"-s {OTHER}", f"-s {WEB}", f"-s {DB}"],
        ),
        ({"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}, ["-s 192.0.2.0/24"]),
        (
            {"from": [{"ipBlock": {"cidr": "192.0.2.0/30", "except": ["192.0.2.1/32"]}}]},
            ["-s 192.0.2.2/31", "-s 192.0.2.0/32"],
        ),
        (
            {"from": [{"ipBlock": {"cidr": "192.0.2.0/30", "except": ["192.0.2.0/32", "192.0.2.0/31"]}}]},
            ["-s 192.0.2.2/31"],
        ),
        ({"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/24"]}}]}, []),
        ({"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}, []),
        ({"ports": []}, [""]),
        ({"ports": [{"port": 80}]}, ["-p tcp --dport 80:80"]),
        ({"ports": [{"port": 53, "protocol": "UDP"}, {"protocol": "TCP"}]}, ["-p udp --dport 53:53", "-p tcp"]),
        ({"ports": [{"port": 80, "endPort": 90}]}, ["-p tcp --dport 80:90"]),
        (
            {"from": [{"podSelector": ALL}], "ports": [{"port": 80}]},
            [f"-s {WEB} -p tcp --dport 80:80", f"-s {DB} -p tcp --dport 80:80"],
        ),
    ],
)
def test_what_passes(rule: Obj, passing: list[str]) -> None:
    made = _made(_policy(podSelector={"matchLabels": {"app": "db"}}, ingress=[rule]))
    expected = _closed_in(DB, *passing)
    # The rule for a pod that calls itself is there once, even if a policy allows it too.
    assert made == list(dict.fromkeys(expected))


def test_calls_out_are_looked_at_from_the_other_side() -> None:
    to_web = {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80, "protocol": "TCP"}]}
    made = _made(_policy(podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Egress"], egress=[to_web]))
    assert made == _closed_out(DB, f"-d {WEB} -p tcp --dport 80:80")


def test_what_one_policy_lets_pass_another_does_not_refuse() -> None:
    selector = {"matchLabels": {"app": "db"}}
    first = _policy(podSelector=selector, ingress=[{"ports": [{"port": 1}]}])
    second = _policy(podSelector=selector, ingress=[{"ports": [{"port": 2}]}])
    of_others = _policy("site", ingress=[{"ports": [{"port": 3}]}])
    expected = _closed_in(DB, "-p tcp --dport 1:1", "-p tcp --dport 2:2")
    assert _made(first, _policy(podSelector=selector), second) == expected
    assert _made(first, of_others, second) == [*expected, *_closed_in(OTHER, "-p tcp --dport 3:3")]


def test_a_port_by_name_is_not_taken_for_anything_else() -> None:
    with pytest.raises(NotImplementedError, match="names the port http"):
        _made(_policy(ingress=[{"ports": [{"port": "http"}]}]))
