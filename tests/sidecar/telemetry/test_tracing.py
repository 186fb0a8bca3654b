"""W3C trace context and identifiers."""

import random
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry.request_id import IdSource
from sidecar.telemetry.tracing import Tracer, parse_traceparent

TRACE = b"0af7651916cd43dd8448eb211c80319c"
PARENT = b"b7ad6b7169203331"
USUAL = b"00-" + TRACE + b"-" + PARENT + b"-01"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        pytest.param(USUAL, 1, id="sampled"),
        pytest.param(USUAL[:-2] + b"00", 0, id="not sampled"),
        pytest.param(USUAL[:-2] + b"03", 3, id="sampled and random"),
        pytest.param(USUAL[:-2] + b"ff", 3, id="unknown flags are not passed on"),
        pytest.param(b"01" + USUAL[2:], 1, id="a later version of the same length"),
        pytest.param(b"cc" + USUAL[2:] + b"-what-comes", 1, id="a later version with more"),
    ],
)
def test_reads(value: bytes, flags: int) -> None:
    assert parse_traceparent(value) == (TRACE, PARENT, flags)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(USUAL[:-1], id="too short"),
        pytest.param(USUAL + b"-x", id="version 00 with more"),
        pytest.param(USUAL + b"0", id="too long"),
        pytest.param(b"01" + USUAL[2:] + b"x", id="a later version with more and no dash"),
        pytest.param(b"ff" + USUAL[2:], id="version ff"),
        pytest.param(USUAL.upper(), id="upper case"),
        pytest.param(b"00-" + b"0" * 32 + USUAL[35:], id="trace id of zeros"),
        pytest.param(USUAL[:36] + b"0" * 16 + b"-01", id="parent id of zeros"),
        pytest.param(USUAL.replace(b"-", b"_"), id="other separators"),
        pytest.param(USUAL[:2] + b"0-" + USUAL[4:], id="a dash in another place"),
        pytest.param(USUAL[:35] + b"a" + USUAL[36:], id="a dash missing"),
        pytest.param(USUAL[:10] + b"g" + USUAL[11:], id="no digit"),
        pytest.param(b" " + USUAL, id="white space"),
        pytest.param(USUAL[:-1] + b"\n", id="a line break"),
    ],
)
def test_refuses(value: bytes) -> None:
    assert parse_traceparent(value) is None


_STRICT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"0[0-9a]-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}\Z")))
def test_accepts_what_the_grammar_accepts(value: bytes) -> None:
    parsed = parse_traceparent(value)
    beyond = value[55:56] == b"-" and value[:2] != b"00"
    assert (parsed is not None) == (_STRICT.match(value[:55] if beyond else value) is not None)


def _tracer(percent: float, **more: bool) -> Tracer:
    return Tracer(IdSource(random.Random(1).randbytes), random.Random(1), percent, **more)


def test_continues_a_trace() -> None:
    trace = _tracer(0.0).begin(USUAL)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, PARENT, True)
    assert trace.span_id not in (PARENT, b"0" * 16)
    assert trace.render() == b"00-" + TRACE + b"-" + trace.span_id + b"-01"


def test_the_callers_decision_stands() -> None:
    assert not _tracer(100.0).begin(USUAL[:-2] + b"00").sampled


def test_begins_a_trace_without_a_usable_one() -> None:
    for header in (None, b"nonsense"):
        trace = _tracer(100.0).begin(header)
        assert trace.parent_id is None
        assert parse_traceparent(trace.render()) == (trace.trace_id, trace.span_id, 1)


def test_a_gateway_has_a_span_for_each_side() -> None:
    trace = _tracer(100.0, both_sides=True).begin(USUAL)
    assert trace.client_id is not None
    assert trace.client_id != trace.span_id
    assert trace.render() == b"00-" + TRACE + b"-" + trace.client_id + b"-01"


@pytest.mark.parametrize(
    ("percent", "low", "high"), [(0.0, 0, 0), (1.0, 60, 140), (50.0, 4_800, 5_200), (100.0, 10_000, 10_000)]
)
def test_samples_its_share(percent: float, low: int, high: int) -> None:
    tracer = _tracer(percent)
    assert low <= sum(tracer.begin(None).sampled for _ in range(10_000)) <= high


def test_request_ids_are_version_4_uuids() -> None:
    ids = IdSource()
    made = [ids.request_id() for _ in range(5_000)]
    assert len(set(made)) == 5_000
    for each in made:
        parsed = uuid.UUID(each.decode())
        assert str(parsed).encode() == each
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_ids_are_of_the_right_form_and_differ() -> None:
    ids = IdSource()
    spans = [ids.span_id() for _ in range(5_000)]
    traces = [ids.trace_id() for _ in range(5_000)]
    assert len({*spans, *traces}) == 10_000
    assert all(re.fullmatch(rb"[0-9a-f]{16}", each) for each in spans)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", each) for each in traces)


def test_ids_of_zeros_are_passed_over() -> None:
    blocks = [
        bytes(4096),
        bytes(10),
        b"\x01" * 4096,
        b"\x01" * 10,
        bytes(4096),
        bytes(10),
        b"\x02" * 4096,
        b"\x02" * 10,
    ]
    ids = IdSource(lambda count: blocks.pop(0) if len(blocks[0]) == count else b"")
    assert ids.span_id() == b"01" * 8
    # What is left of the block is used up, then one of zeros comes.
    while ids.trace_id() == b"01" * 16:
        pass
    assert blocks == []
