"""The sink into a real Elasticsearch."""

import uuid

import pytest

from collectors.records import Batch
from tests.collectors.build import NOW, FakeClock, access, log
from tests.collectors.exporters.elasticsearch.sinks import Sinks
from tests.integration.elasticsearch import Queries


@pytest.fixture
def namespace() -> str:
    """Of data streams that no other test writes to."""
    return uuid.uuid4().hex


async def test_records_are_stored_once_under_their_ids_with_ecs_names(elasticsearch: Queries, namespace: str) -> None:
    sinks = Sinks(FakeClock(NOW))
    batch = Batch(logs=[access(1), access(2, response_code=503), log("chunk:a/0", "started", version="1.2")])
    async with sinks.open(elasticsearch.url, namespace=namespace) as sink:
        first = await sink.send(batch)
        second = await sink.send(batch)
    assert (first.refused, len(first.again), second.refused, len(second.again)) == ([], 0, [], 0)
    requests = elasticsearch.documents(f"logs-remora.access-{namespace}")
    print(requests)
    lines = elasticsearch.documents(f"logs-remora.app-{namespace}")
    print(lines)
    assert [each["http"]["response"]["status_code"] for each in requests] == [200, 503]
    assert [each["message"] for each in lines] == ["started"]
    assert (sinks.counted("stored"), sinks.counted("known")) == (3, 3)
