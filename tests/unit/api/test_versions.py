"""The skew policy."""

import pytest

from edge_api.fleet.version_policy import version_skew
from edge_api.settings import SkewPolicy


@pytest.mark.parametrize(
    ("policy", "actual", "good"),
    [
        ("exact", "3.3.2", True),
        ("exact", "3.3.2.post1", False),
        ("exact", "3.3.1", False),
        ("patch", "3.3.2+local", True),
        ("patch", "3.3.1", False),
        ("minor", "3.3.0", True),
        ("minor", "3.3.9rc1", True),
        ("minor", "3.4.0", False),
        ("minor", "2.3.2", False),
        ("any", "1.0", True),
        ("any", "rubbish", True),
        ("minor", "rubbish", False),
    ],
)
def test_policy(policy: str, actual: str, good: bool) -> None:
    reason = version_skew("Airflow", SkewPolicy(policy), "3.3.2", actual)
    assert (reason is None) is good
    if reason is not None:
        assert actual in reason
        assert "3.3.2" in reason


def test_nothing_is_compared_before_the_reference_is_known() -> None:
    assert version_skew("Airflow", SkewPolicy.EXACT, None, "1.0") is None


def test_a_worker_that_reports_no_version_is_outside() -> None:
    assert "does not report" in (version_skew("Airflow", SkewPolicy.MINOR, "3.3.2", None) or "")
