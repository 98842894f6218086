"""A systemd unit as data, and the environment that systemd makes of it."""

from pathlib import Path

from edge_testing.repository import REPOSITORY

SYSTEMD = REPOSITORY / "worker_image" / "systemd"

Unit = dict[str, dict[str, list[str]]]
"""Values by section and key, in order."""


def read_unit(path: Path) -> Unit:
    """Read a unit file."""
    unit: Unit = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = unit.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return unit


def assignments(lines: list[str]) -> dict[str, str]:
    """Return the variables that lines of `NAME=VALUE` set."""
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def environment(unit: Unit, instance: str, root: Path) -> dict[str, str]:
    """Return the variables that systemd gives to the service; paths are below a scratch root."""
    service = unit["Service"]
    settings = (root / service["EnvironmentFile"][0].replace("%i", instance).lstrip("/")).read_text().splitlines()
    values = assignments([line.replace("%i", instance) for line in service["Environment"]])
    return {
        name: str(root / value.lstrip("/")) if value.startswith(("/var/", "/etc/")) else value
        for name, value in {**values, **assignments(settings)}.items()
    }
