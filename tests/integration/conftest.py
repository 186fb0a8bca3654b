"""The mesh as a user has it: the real `remora up` on free ports with a state directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import elasticsearch as real_elasticsearch
from tests.integration.elasticsearch import Elasticsearch, Queries
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


@pytest.fixture(scope="session", params=[""] if real_elasticsearch.RUNNING else real_elasticsearch.RELEASES, ids=str)
def elasticsearch(request: pytest.FixtureRequest) -> Iterator[Queries]:
    """Each of the real ones, OpenSearch included, for all tests, each of which writes to data streams of a namespace of
    its own. It takes 20 seconds to start on a small machine; one that tests may stop is of type Elasticsearch."""
    if real_elasticsearch.RUNNING:
        yield Queries(real_elasticsearch.RUNNING)
        return
    if reason := real_elasticsearch.lacking(request.param):
        pytest.skip(reason)
    server = Elasticsearch(request.param)
    try:
        server.start()
        yield server
    finally:
        server.close()
