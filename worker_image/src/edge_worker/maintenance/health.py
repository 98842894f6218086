"""The health function: code of the site that decides whether this host should take jobs.

It is foreign code inside the agent. It runs in a thread of its own with a time limit, and a failure counts as
unhealthy; it does not crash the agent.
"""

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable
from typing import Any

from edge_worker.errors import ConfigError

_SETTING = "setting 'health_check' (EDGE_WORKER_HEALTH_CHECK)"


class HealthCheck:
    """Calls the function, one call at a time."""

    def __init__(self, function: Callable[[], Any], timeout_s: float) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._call: asyncio.Future[str | None] | None = None

    async def run(self) -> str | None:
        """Return why the host is not healthy, or None if it is."""
        if self._call is None:
            self._call = asyncio.get_running_loop().create_future()
            # A daemon: a call that never returns must not keep this process from exiting.
            threading.Thread(target=self._run, args=(self._call,), name="health check", daemon=True).start()
        await asyncio.wait({self._call}, timeout=self._timeout_s)
        if not self._call.done():
            return f"the health check gave no answer within {self._timeout_s:g} s"
        call, self._call = self._call, None
        return call.result()

    def _run(self, call: "asyncio.Future[str | None]") -> None:
        result = _result(self._function)
        # The loop may be closed by now: then nobody waits for the result.
        with contextlib.suppress(RuntimeError):
            call.get_loop().call_soon_threadsafe(_finish, call, result)


def load_health_check(name: str, timeout_s: float) -> HealthCheck:
    """Import `module:function`.

    Raises:
        ConfigError: there is no such module or function.

    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ConfigError(f"{_SETTING} is not valid: {name!r}; name it as module:function")
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:
        # Importing foreign code may raise anything.
        raise ConfigError(
            f"{_SETTING}: module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "install it where the worker runs, or set PYTHONPATH"
        ) from error
    if not callable(function):
        raise ConfigError(f"{_SETTING}: module {module_name!r} has no function {function_name!r}")
    return HealthCheck(function, timeout_s)


def _result(function: Callable[[], Any]) -> str | None:
    """Call the function; None, True, an empty text and `ok` mean healthy."""
    try:
        answer = function()
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and any failure means unhealthy
        return f"the health check failed: {type(error).__name__}: {error}"
    if answer is None or answer is True:
        return None
    text = "the health check returned False" if answer is False else str(answer).strip().replace("\x00", "")
    return None if text.lower() in ("", "ok") else text


def _finish(call: "asyncio.Future[str | None]", result: str | None) -> None:
    if not call.done():
        call.set_result(result)
