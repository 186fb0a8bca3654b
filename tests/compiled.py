"""Run tests on the compiled build: `python -m pytest -p tests.compiled tests/sidecar`. `make test-compiled` does.

The build's packages take the place of the sources, in this process and in those that tests start. A test that passes
on one of them alone is a defect: it is one source.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before any conftest, and so before any test, imports a package of ours."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("mesh", "sidecar")]
    if loaded:
        raise pytest.UsageError(f"too late to run compiled: {loaded[0]} is imported already")
    build = _usable()()
    if build is None:
        raise pytest.UsageError("there is no build of exactly these sources: make compile")
    sys.path.insert(0, str(build))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(build), str(_ROOT)])
    # `python -m` would look into the current directory first.
    os.environ["PYTHONSAFEPATH"] = "1"


def pytest_report_header() -> str:
    import sidecar.listeners.exchange as module

    if not str(module.__file__).endswith(".so"):
        raise pytest.UsageError(f"not compiled: {module.__file__}")
    return f"compiled: {Path(str(module.__file__)).parents[2]}"


def _usable() -> Callable[[], Path | None]:
    """sidecar.compiled.usable, without importing the package `sidecar` from its sources."""
    spec = importlib.util.spec_from_file_location("remora_compiled", _ROOT / "sidecar" / "compiled.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    usable: Callable[[], Path | None] = module.usable
    return usable
