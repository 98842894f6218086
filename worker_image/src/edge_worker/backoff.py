"""Delays between attempts: exponential with full jitter, so that a fleet does not reconnect at the same moment."""

from collections.abc import Callable
from random import uniform


class Backoff:
    """Delays that grow from `first_s` to `longest_s`, each drawn uniformly between zero and the current bound."""

    def __init__(
        self, first_s: float = 0.2, longest_s: float = 30.0, draw: Callable[[float, float], float] = uniform
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._draw = draw
        self._failures = 0

    def next_delay(self, at_most_s: float = float("inf")) -> float:
        """Return the seconds to wait after one more failure."""
        # The exponent is bounded, since an outage of days must not overflow the float.
        bound = min(at_most_s, self._longest_s, self._first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return self._draw(0, bound)

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0
