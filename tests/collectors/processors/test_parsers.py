import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.processors.parsers.settings import Settings
from collectors.processors.parsers.texts import parse_access_log, parse_json, parse_logfmt
from collectors.records import PRINCIPAL_KEY, Batch
from collectors.store.message import render
from collectors.store.rows import to_rows
from mesh.records import ACCESS_KEYS, ACCESS_TAG
from tests.collectors.build import NOW, access_body, log
from tests.collectors.processors.stages import Stage

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_json_becomes_fields_beside_the_record_s_own() -> None:
    stage = Stage("parse", {"format": "json"})
    (record,) = await stage.through(
        log("1", '{"msg": "hello", "user": {"id": 5}, "ok": true, "level": "WARN"}', host="h")
    )
    assert record.body == {
        "host": "h",
        "message": "hello",
        "user": {"id": 5},
        "ok": True,
        "level": "WARN",
        "msg": "hello",
    }
    assert record.severity == "warning"
    assert (record.id, record.tag, record.time) == ("1", "app.log", NOW)
    assert stage.counted("parsed") == 1


@pytest.mark.parametrize(
    "text",
    [
        "plain text", "", "[1, 2]", '"text"', '{"a": 1', '{"a": NaN}', '{"a": "\\ud800"}', "{" * 5_000,
        '{"a":' * 40 + "1" + "}" * 40, '{"a": 1} {"b": 2}', "null", '{"a": ' + "9" * 5_000,
    ],
)  # fmt: skip
async def test_what_is_no_json_object_stays_as_it_is_or_is_dropped(text: str) -> None:
    record = log("1", text)
    keeping, dropping = Stage("parse", {"format": "json"}), Stage("parse", {"format": "json", "unparsed": "drop"})
    assert await keeping.through(record) == [record]
    assert await dropping.through(record) == []
    assert (keeping.counted("unparsed"), dropping.counted("dropped")) == (1, 1)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
async def test_whatever_is_parsed_can_be_stored(fields: dict[str, Any]) -> None:
    import json

    record = log("1", json.dumps(fields))
    records = await Stage("parse", {"format": "json"}).through(record)
    assert len(to_rows(Batch(logs=records)).logs) == 1


async def test_a_text_does_not_speak_for_its_receiver() -> None:
    own = {PRINCIPAL_KEY: "spiffe://cluster.local/ns/default/sa/a", "k8s.pod.name": "a-1"}
    text = (f'{{"message": "m", "{PRINCIPAL_KEY}": "another", "workload": "another", "k8s.pod.name": "another", '
            '"k8s.node.name": "another", "remora.x": 1}')  # fmt: skip
    (record,) = await Stage("parse", {"format": "json"}).through(log("1", text, **own))
    assert record.body == {
        "message": "m", **own, f"app.{PRINCIPAL_KEY}": "another", "app.workload": "another",
        "app.k8s.pod.name": "another", "app.k8s.node.name": "another", "app.remora.x": 1,
    }  # fmt: skip
    assert record.workload == "reviews-v1"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (
            'level=info msg="hello \\"world\\"\\n" n=5 ok',
            {"level": "info", "msg": 'hello "world"\n', "n": "5", "ok": True},
        ),
        ("a= b=c", {"a": "", "b": "c"}),
        ("url=http://x/?a=b", {"url": "http://x/?a=b"}),
        ("plain words", None),
        ("", None),
        ('a="open', None),
        ("a=1 = b", None),
    ],
)
def test_logfmt(text: str, fields: dict[str, Any] | None) -> None:
    assert parse_logfmt(text) == fields


async def test_an_expression_s_named_groups_become_fields() -> None:
    expression = (
        r"(?P<client>\S+) \S+ \S+ \[(?P<at>[^\]]+)\] "
        r'"(?P<method>\S+) (?P<path>\S+)[^"]*" (?P<status>\d+)( (?P<never>x))?'
    )
    stage = Stage("parse", {"format": "regex", "expression": expression, "into": "http",
                            "time": {"fields": ["at"], "format": "%d/%b/%Y:%H:%M:%S %z"}})  # fmt: skip
    (record,) = await stage.through(log("1", '10.0.0.1 - - [31/Jan/2026:13:00:01 +0100] "GET /x HTTP/1.1" 200'))
    assert record.body["http"] == {
        "client": "10.0.0.1", "at": "31/Jan/2026:13:00:01 +0100", "method": "GET", "path": "/x", "status": "200",
    }  # fmt: skip
    assert record.time == NOW + 1
    assert record.body["message"].startswith("10.0.0.1")


async def test_an_expression_made_to_backtrack_does_not() -> None:
    stage = Stage("parse", {"format": "regex", "expression": r"(?P<x>(a+)+)$"})
    before = time.perf_counter()
    await stage.through(log("1", "a" * 100_000 + "b"))
    assert time.perf_counter() - before < 5, "by backtracking it would not end"


ACCESS = (
    '[2026-01-31T12:00:00.123Z] "GET /reviews/0 HTTP/1.1" 503 UF via_upstream - "immediate connect error" 0 371 12 3 '
    '"10.0.0.9" "curl/8 "quoted"" "e1a2" "reviews:9080" "10.0.0.1:9080" '
    "outbound|9080|v1|reviews.default.svc.cluster.local 10.0.0.2:41000 10.0.0.3:9080 10.0.0.2:52000 - default"
)


async def test_istio_s_access_log_becomes_the_fields_of_our_own() -> None:
    (record,) = await Stage("parse", {"format": "access_log"}).through(log("1", ACCESS))
    body = record.body
    assert record.severity == "error"
    assert record.time == pytest.approx(NOW + 0.123)
    assert (body["method"], body["path"], body["protocol"], body["response_code"]) == (
        "GET",
        "/reviews/0",
        "HTTP/1.1",
        503,
    )
    assert (body["response_flags"], body["duration"], body["upstream_service_time"]) == ("UF", 12.0, 3.0)
    assert (body["bytes_received"], body["bytes_sent"]) == (0, 371)
    assert body["user_agent"] == 'curl/8 "quoted"'
    assert body["upstream_transport_failure_reason"] == "immediate connect error"
    assert body["requested_server_name"] is None
    assert body["route_name"] == "default"
    assert body["message"] == ACCESS


def test_our_own_text_form_is_read_back() -> None:
    body = access_body(7, duration=12.4, response_code=404, response_flags="NR")
    fields = parse_access_log(render(ACCESS_TAG, body))
    assert fields is not None
    for key in set(ACCESS_KEYS) & fields.keys() - {"duration"}:
        assert fields[key] == body[key], key


def test_istio_s_json_access_log_is_the_same() -> None:
    text = '{"start_time": "2026-01-31T12:00:00Z", "response_code": "200", "duration": 5, "upstream_host": "-"}'
    assert parse_access_log(text) == {
        "start_time": "2026-01-31T12:00:00Z", "response_code": 200, "duration": 5.0, "upstream_host": None,
    }  # fmt: skip
    assert parse_access_log('{"message": "another thing"}') is None


def test_hostile_access_logs_take_no_longer() -> None:
    before = time.perf_counter()
    parse_access_log('[x] "GET ' + '" "' * 20_000)
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize(
    ("field", "settings", "expected"),
    [
        ('"time": "2026-01-31T12:00:01.5Z"', {}, NOW + 1.5),
        ('"timestamp": "2026-01-31 12:00:01,500"', {}, NOW + 1.5),
        (f'"ts": {NOW + 1.5}', {}, NOW + 1.5),
        (f'"ts": {int(NOW) * 1000 + 1500}', {}, NOW + 1.5),
        (f'"ts": {int(NOW) * 10**6 + 1_500_000}', {}, NOW + 1.5),
        (f'"ts": {int(NOW) * 10**9 + 1_500_000_000}', {}, NOW + 1.5),
        ('"ts": "17"', {"time": {"format": "unix"}}, 17.0),
        ('"at": 17', {"time": {"fields": ["at"], "format": "unix_ms"}}, 0.017),
        ('"time": "soon"', {}, NOW),
        ('"time": -5', {}, NOW),
        ('"time": 1e300', {}, NOW),
        ('"time": true', {}, NOW),
        ('"time": "2026-01-31T12:00:01Z"', {"time": {"fields": []}}, NOW),
    ],
)
async def test_times_are_found(field: str, settings: dict[str, Any], expected: float) -> None:
    (record,) = await Stage("parse", {"format": "json", **settings}).through(log("1", f"{{{field}}}"))
    assert record.time == pytest.approx(expected)


@pytest.mark.parametrize(
    ("field", "severity"),
    [
        ('"level": "error"', "error"), ('"levelname": "WARNING"', "warning"), ('"severity": "DEBUG"', "debug"),
        ('"level": 50', "error"), ('"level": 30', "info"), ('"level": "loud"', "info"), ('"x": 1', "info"),
    ],
)  # fmt: skip
async def test_severities_are_found(field: str, severity: str) -> None:
    (record,) = await Stage("parse", {"format": "json"}).through(log("1", f"{{{field}}}"))
    assert record.severity == severity


@pytest.mark.parametrize(
    "field",
    [
        f'"trace_id": "{TRACE}", "span_id": "{SPAN}"', f'"traceId": "{TRACE.upper()}", "spanId": "{SPAN}"',
        f'"otelTraceID": "{TRACE}", "otelSpanID": "{SPAN}"', f'"traceparent": "00-{TRACE}-{SPAN}-01"',
    ],
)  # fmt: skip
async def test_trace_and_span_are_found_under_one_name(field: str) -> None:
    (record,) = await Stage("parse", {"format": "json"}).through(log("1", f"{{{field}}}"))
    assert (record.trace_id, record.body["trace_id"], record.body["span_id"]) == (TRACE, TRACE, SPAN)


@pytest.mark.parametrize("value", ["0" * 32, "xyz", "", TRACE[:31]])
async def test_what_is_no_trace_id_makes_none(value: str) -> None:
    (record,) = await Stage("parse", {"format": "json"}).through(log("1", f'{{"trace_id": "{value}"}}'))
    assert record.trace_id is None


async def test_more_fields_than_are_taken_are_left_out_and_that_is_said() -> None:
    text = "{" + ", ".join(f'"k{number}": 1' for number in range(20)) + "}"
    (record,) = await Stage("parse", {"format": "json", "max_fields": 5}).through(log("1", text))
    assert record.body["log.fields_cut"] is True
    assert len(record.body) == 5 + 2


async def test_the_text_can_be_kept() -> None:
    (record,) = await Stage("parse", {"format": "json", "keep_text": True}).through(log("1", '{"msg": "m"}'))
    assert record.body["log.original"] == '{"msg": "m"}'


@pytest.mark.parametrize(("depth", "taken"), [(20, True), (100, False), (100_000, False)])
def test_json_is_taken_to_a_depth_that_everybody_reads(depth: int, taken: bool) -> None:
    found: Any = parse_json('{"a":' * depth + "1" + "}" * depth)
    for _ in range(depth if taken else 0):
        (found,) = found.values()
    assert found == (1 if taken else None)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"format": "xml"}, "logfmt"),
        ({"format": "regex"}, "needs expression"),
        ({"format": "json", "expression": "(?P<a>x)"}, "needs expression"),
        ({"format": "regex", "expression": "x"}, "without named groups"),
        ({"format": "regex", "expression": "(?P<a>x"}, "RE2"),
        ({"format": "regex", "expression": r"(?P<a>x)(?=y)"}, "look-around"),
        ({"format": "json", "time": {"format": "iso"}}, "rfc3339"),
        ({"format": "json", "time": {"format": "%Q"}}, "strptime"),
        ({"format": "json", "unparsed": "maybe"}, "unparsed"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(settings)
