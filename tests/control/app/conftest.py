"""A running control plane for a test, stopped afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control.app.control_process import ControlProcess


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlProcess]:
    process = ControlProcess(tmp_path / "state")
    await process.start()
    yield process
    await process.stop()
