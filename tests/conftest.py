"""Coroutine tests run in virtual time; tests marked `sockets` on a real loop."""

import asyncio
import inspect

import pytest

from quorate.testing.clock import run_virtual


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
