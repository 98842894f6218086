"""Calls to Airflow while its api-server may be restarting."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

INTERVAL_S = 0.3

T = TypeVar("T")


def ask(question: Callable[[], T], patience_s: float = 90) -> T:
    """Call Airflow; try again while its api-server is not available."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return question()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            gone = (
                isinstance(error, httpx.HTTPStatusError)
                and error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR
            )
            if gone or time.monotonic() > end:
                raise
        time.sleep(INTERVAL_S)
