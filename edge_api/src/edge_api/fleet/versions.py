"""Which versions may work together.

A worker outside the policy is cordoned with a sentence that says so. It is not turned away and keeps what it runs, so
an upgrade of either side never kills a task.
"""

from enum import StrEnum

from packaging.version import InvalidVersion, Version


class SkewPolicy(StrEnum):
    """How alike two versions must be."""

    EXACT = "exact"
    """The very same version."""
    PATCH = "patch"
    """The same major, minor and patch number; suffixes such as `.post1` or `+local` may differ."""
    MINOR = "minor"
    """The same major and minor number."""
    ANY = "any"
    """Never compared."""


_NUMBERS = {SkewPolicy.PATCH: 3, SkewPolicy.MINOR: 2}


def version_skew(what: str, policy: SkewPolicy, reference: str | None, actual: str | None) -> str | None:
    """Return why a version is not good, as a sentence, or None if it is.

    `reference` is what the platform has; None: not known (yet), nothing is compared. `what` names the software.
    """
    if policy is SkewPolicy.ANY or reference is None:
        return None
    if actual is None:
        return f"The worker does not tell its version of {what}; the platform has {reference}. Upgrade the worker."
    if _alike(policy, reference, actual):
        return None
    return (
        f"The worker has {what} {actual}, the platform {reference}; the policy is {_said(policy)}. "
        f"Install {what} {reference} on the worker."
    )


def _said(policy: SkewPolicy) -> str:
    return "the exact version" if policy is SkewPolicy.EXACT else f"the same {policy.value} version"


def _alike(policy: SkewPolicy, reference: str, actual: str) -> bool:
    try:
        one, other = Version(reference), Version(actual)
    except InvalidVersion:
        return reference == actual
    if policy is SkewPolicy.EXACT:
        return one == other
    count = _NUMBERS[policy]
    return (one.epoch, *_release(one)[:count]) == (other.epoch, *_release(other)[:count])


def _release(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.micro
