"""A control plane's gRPC side for a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control.served import Served, served


@pytest.fixture
async def plane_served(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "state") as made:
        yield made
