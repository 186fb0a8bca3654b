"""The sink before OpenSearch: what is asked otherwise than of Elasticsearch."""

from typing import Any

import orjson
import pytest

from collectors.exporters.elasticsearch.bulk import reason
from collectors.exporters.sink import TooLarge, Unavailable
from collectors.records import Batch
from tests.collectors.build import access, log
from tests.collectors.exporters.elasticsearch.backend import Backend, error
from tests.collectors.exporters.elasticsearch.sinks import Sinks

BATCH = Batch(logs=[log("a/1", "x"), access(1)])
STREAMS = ["/_data_stream/logs-remora.access-default", "/_data_stream/logs-remora.app-default"]
CUSTOM = "/_component_template/remora@custom"


def types_in(mapping: Any) -> set[str]:
    """Of all fields, however deep."""
    found = {mapping["type"]} if isinstance(mapping.get("type"), str) else set()
    return found.union(*(types_in(each) for each in mapping.values() if isinstance(each, dict)))


async def test_streams_are_made_once_before_the_first_record_and_mappings_have_its_types() -> None:
    sinks = Sinks()
    async with Backend(engine="opensearch") as backend:
        for _ in range(2):
            async with sinks.open(backend.url, engine="opensearch") as sink:
                for _ in range(2):
                    assert not (await sink.send(BATCH)).refused
        assert (sinks.counted("stored"), sinks.counted("known")) == (2, 6)
        puts = [call.path for call in backend.calls if call.method == "PUT"]
        assert [path for path in puts if path.startswith("/_data_stream/")] == STREAMS * 2
        assert [call.path for call in backend.calls].index("/_bulk") > max(map(puts.index, STREAMS))
        types = types_in(backend.installed["/_component_template/remora-mappings"]["template"])
        assert "flat_object" in types
        assert "flattened" not in types
        assert "ignore_missing_component_templates" not in backend.installed["/_index_template/logs-remora"]
        # The client's own media types are none that OpenSearch knows.
        assert {call.headers["accept"] for call in backend.calls} == {"application/json"}


async def test_the_users_component_is_made_empty_where_it_is_not_and_never_touched() -> None:
    async with Backend(engine="opensearch") as backend:
        async with Sinks().open(backend.url, engine="opensearch") as sink:
            await sink.send(BATCH)
        assert backend.installed[CUSTOM] == {"template": {}}
        theirs = {"template": {"settings": {"index": {"refresh_interval": "30s"}}}}
        backend.installed[CUSTOM] = theirs
        async with Sinks().open(backend.url, engine="opensearch") as sink:
            await sink.send(BATCH)
        assert backend.installed[CUSTOM] == theirs


async def test_without_templates_nothing_is_written_into_an_index_of_the_streams_name() -> None:
    async with Backend(engine="opensearch") as backend:
        async with Sinks().open(backend.url, engine="opensearch", setup=False) as sink:
            with pytest.raises(Unavailable, match=r"the data stream logs-remora\.access-default: .* no matching"):
                await sink.send(BATCH)
        assert backend.sent("/_bulk") == []


async def test_elasticsearch_in_its_place_is_refused() -> None:
    async with Backend() as backend, Sinks().open(backend.url, engine="opensearch") as sink:
        with pytest.raises(Unavailable, match="what answers is Elasticsearch, not OpenSearch: leave `engine` out"):
            await sink.send(BATCH)
        assert backend.sent("/_bulk") == []


@pytest.mark.parametrize(
    ("status", "kind", "raised", "why"),
    [
        (401, "security_exception", Unavailable, "does not take our credentials"),
        (403, "security_exception", Unavailable, "does not let us"),
        (413, "too_large", TooLarge, "413"),
        (429, "rejected_execution_exception", Unavailable, "429"),
        (503, "cluster_block_exception", Unavailable, "503"),
    ],
)
async def test_a_refusal_of_a_request_means_what_it_means_of_elasticsearch(
    status: int, kind: str, raised: type[Exception], why: str
) -> None:
    async with Backend(engine="opensearch") as backend, Sinks().open(backend.url, engine="opensearch") as sink:
        backend.answers.append(lambda call: error(status, kind, "no") if call.path == "/_bulk" else None)
        with pytest.raises(raised, match=why):
            await sink.send(BATCH)


async def test_the_second_node_is_asked_where_the_first_is_away() -> None:
    async with Backend(engine="opensearch") as away:
        gone = away.url
    async with Backend(engine="opensearch") as backend:
        async with Sinks().open(gone, backend.url, engine="opensearch") as sink:
            assert not (await sink.send(BATCH)).refused
        assert len(backend.documents) == 2


def test_a_reason_tells_nothing_of_a_value_that_is_too_long_in_bytes_either() -> None:
    why = (
        'Document contains at least one immense term in field="a._value" (whose UTF8 encoding is longer than the max'
        " length 32766), all of which were skipped.  The prefix of the first immense term is: '[112, 52, 115, 115]...',"
        " original message: bytes can be at most 32766 in length; got 40000"
    )
    said = reason(400, orjson.loads(orjson.dumps({"type": "illegal_argument_exception", "reason": why})))
    assert "112" not in said
    assert said.endswith("all of which were skipped. original message: bytes can be at most 32766 in length; got 40000")
