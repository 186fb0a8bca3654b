"""The mesh as a user has it: the real `remora up` on free ports with a state directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mesh import RunningMesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One mesh for every test that leaves it as it found it."""
    with RunningMesh.up(tmp_path_factory.mktemp("mesh") / "state") as running:
        yield running


@pytest.fixture
def own_mesh(tmp_path: Path) -> Iterator[RunningMesh]:
    """A mesh for one test, which may break it."""
    with RunningMesh.up(tmp_path / "state") as running:
        yield running
