"""Coroutine tests run in virtual time; tests marked `sockets` on a real loop."""

import asyncio
import inspect
import signal

import pytest

from quorate.testing.clock import run_virtual

# A shell starts its background jobs deaf to Ctrl-C, and so would be every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    coroutine = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted})
    if pyfuncitem.get_closest_marker("sockets"):
        asyncio.run(coroutine)
    else:
        run_virtual(coroutine)
    return True
