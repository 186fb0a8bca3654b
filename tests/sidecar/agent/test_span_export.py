"""Spans to a collector over OTLP."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from mesh.lifecycle import TaskScope
from sidecar.agent.backoff import Backoff
from sidecar.agent.channels import Credentials
from sidecar.agent.span_export import MAX_BATCH, SpanExporter
from sidecar.config.messages import Span
from tests.sidecar.agent.collector import TraceInput
from tests.sidecar.xds.authority import TestAuthority

Eventually = Callable[..., Awaitable[None]]


def span(number: int = 1, **changes: Any) -> Span:
    plain: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "parent_id": None,
        "server": True,
        "name": "GET",
        "start_ns": 1_700_000_000_000_000_001,
        "end_ns": 1_700_000_000_000_500_000,
        "attributes": (
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "17"),
            ("server.port", "9080"),
            ("url.path", "/1"),
        ),
    }
    return Span(**plain | changes)


@pytest.fixture
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
async def collector(authority: TestAuthority) -> AsyncIterator[TraceInput]:
    async with TraceInput(authority) as running:
        yield running


@pytest.fixture
async def scope() -> AsyncIterator[TaskScope]:
    async with TaskScope() as scope:
        yield scope


def exporter(collector: TraceInput, authority: TestAuthority, **options: int) -> SpanExporter:
    chain, key = authority.pair("spiffe://cluster.local/ns/default/sa/reviews")
    return SpanExporter(
        collector.address,
        {"service.name": "reviews", "remora.workload": "reviews-v1"},
        lambda: Credentials(authority.pem, chain, key),
        Backoff(random.Random(1), base_s=0.01, max_s=0.05),
        **options,
    )


def received(collector: TraceInput) -> list[Any]:
    return [
        each
        for request in collector.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for each in scope.spans
    ]


async def test_a_span_arrives_with_everything_that_it_has(
    collector: TraceInput, authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    subject = exporter(collector, authority)
    scope.spawn(subject.run(), name="spans")
    subject.offer((span(5), span(6, parent_id=f"{5:016x}", trace_id=f"{5:032x}", server=False, error=True)))
    await eventually(lambda: subject.sent == 2, "both are taken")
    server, client = received(collector)
    assert server.trace_id.hex() == client.trace_id.hex() == f"{5:032x}"
    assert (server.span_id.hex(), server.parent_span_id) == (f"{5:016x}", b"")
    assert client.parent_span_id == server.span_id
    assert (server.kind, client.kind) == (2, 3)
    assert (server.status.code, client.status.code) == (0, 2)
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (
        1_700_000_000_000_000_001,
        1_700_000_000_000_500_000,
    )
    attributes = {each.key: each.value for each in server.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["http.response.body.size"].int_value == 17
    assert attributes["server.port"].int_value == 9080
    assert attributes["url.path"].string_value == "/1", "only keys that hold numbers become numbers"
    resource = {
        each.key: each.value.string_value for each in collector.requests[0].resource_spans[0].resource.attributes
    }
    assert resource == {"service.name": "reviews", "remora.workload": "reviews-v1"}
    await subject.flush()


async def test_many_spans_leave_in_batches(
    collector: TraceInput, authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    subject = exporter(collector, authority)
    scope.spawn(subject.run(), name="spans")
    subject.offer(tuple(span(n + 1) for n in range(2 * MAX_BATCH + 10)))
    await eventually(lambda: subject.sent == 2 * MAX_BATCH + 10, "all are taken")
    assert len(collector.requests) == 3
    await subject.flush()


async def test_beyond_the_queues_bound_spans_are_dropped_and_counted(
    collector: TraceInput, authority: TestAuthority
) -> None:
    subject = exporter(collector, authority, max_queued=3)
    subject.offer((span(1), span(2)))
    subject.offer((span(3), span(4), span(5)))
    assert (subject.queued, subject.dropped) == (3, 2)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED], ids=lambda code: code.name
)
async def test_what_may_be_sent_again_is_sent_again(
    code: grpc.StatusCode, collector: TraceInput, authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    collector.failures = [code, code]
    subject = exporter(collector, authority)
    scope.spawn(subject.run(), name="spans")
    subject.offer((span(),))
    await eventually(lambda: subject.sent == 1, "the third attempt is taken")
    assert (subject.failures, subject.dropped) == (2, 0)
    await subject.flush()


async def test_what_the_collector_cannot_take_is_dropped_and_the_next_goes_on(
    collector: TraceInput, authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    collector.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    subject = exporter(collector, authority)
    scope.spawn(subject.run(), name="spans")
    subject.offer((span(1),))
    await eventually(lambda: subject.dropped == 1, "the first is given up")
    subject.offer((span(2),))
    await eventually(lambda: subject.sent == 1, "the second is taken")
    await subject.flush()


async def test_spans_that_the_collector_rejects_are_counted_as_lost(
    collector: TraceInput, authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    collector.rejected = 1
    subject = exporter(collector, authority)
    scope.spawn(subject.run(), name="spans")
    subject.offer((span(1), span(2)))
    await eventually(lambda: subject.sent == 1, "one is taken")
    assert subject.dropped == 1
    await subject.flush()


async def test_flushing_sends_what_waits_at_once(collector: TraceInput, authority: TestAuthority) -> None:
    subject = exporter(collector, authority)
    subject.offer((span(1), span(2)))
    await asyncio.wait_for(subject.flush(), 5)
    assert (subject.sent, subject.queued) == (2, 0)


async def test_another_workload_in_the_collectors_place_gets_nothing(
    authority: TestAuthority, scope: TaskScope, eventually: Eventually
) -> None:
    async with TraceInput(authority, name="reviews.default.svc") as impostor:
        subject = exporter(impostor, authority)
        running = scope.spawn(subject.run(), name="spans")
        subject.offer((span(),))
        await eventually(lambda: subject.failures >= 1, "the attempt fails")
        assert impostor.requests == []
        running.cancel()
        await asyncio.wait([running])
        subject._queue.clear()
        await subject.flush()
