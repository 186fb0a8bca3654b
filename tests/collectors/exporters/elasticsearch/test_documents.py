"""Records as documents: names, types, times, and what becomes of everything that has no place."""

import hashlib
import math
from base64 import urlsafe_b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exporters.elasticsearch.documents import Encoder, encode
from collectors.exporters.elasticsearch.identifiers import document_id, position, sample_id
from collectors.exporters.elasticsearch.lines import MAX_MESSAGE_CHARS
from collectors.exporters.elasticsearch.templates import Retention, pieces
from collectors.exporters.elasticsearch.times import Timestamps
from collectors.records import Batch, Exemplar, LogRecord
from mesh.records import ACCESS_TAG
from tests.collectors.build import NOW, access, durations, labels, log, requests


def document(record: LogRecord, now: float = NOW) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(Encoder("default", Timestamps(600.0)).log(record, now).source)
    return made


def test_an_access_record_has_ecs_names() -> None:
    made = document(
        access(
            7,
            direction="inbound",
            response_code=503,
            response_flags="UF",
            path="/reviews/0?lang=en",
            downstream_remote_address="10.1.2.3:4711",
            upstream_host="[::1]:80",
            grpc_status=14,
            peer_principal="spiffe://cluster.local/ns/default/sa/a",
            filter_metadata={"tenant": "x"},
            surprise={"a": [1]},
        )
    )
    assert made == {
        "@timestamp": "2026-01-31T12:00:00.000000Z",
        "message": "GET /reviews/0 503 UF",
        "ecs": {"version": "8.17.0"},
        "data_stream": {"type": "logs", "dataset": "remora.access", "namespace": "default"},
        "event": {
            "id": "sidecar~productpage-v1.default/e1/7",
            "sequence": 7,
            "dataset": "remora.access",
            "outcome": "failure",
            "duration": 3_200_000,
        },
        "log": {"level": "error"},
        "service": {"name": "reviews", "node": {"name": "productpage-v1"}},
        "trace": {"id": f"{8:032x}"},
        "span": {"id": f"{8:016x}"},
        "http": {
            "request": {"method": "GET", "id": "00000000-0000-4000-8000-000000000007", "bytes": 0},
            "response": {"status_code": 503, "bytes": 371},
        },
        "url": {"original": "/reviews/0?lang=en", "path": "/reviews/0", "query": "lang=en", "domain": "reviews:9080"},
        "user_agent": {"original": "curl/8"},
        "client": {"address": "10.1.2.3:4711", "ip": "10.1.2.3", "port": 4711},
        "destination": {"address": "[::1]:80", "ip": "::1", "port": 80},
        "orchestrator": {"namespace": "default"},
        "remora": {
            "workload": "productpage-v1",
            "stream": "sidecar~productpage-v1.default/e1",
            "tag": ACCESS_TAG,
            "direction": "inbound",
            "protocol": "HTTP/1.1",
            "response_flags": "UF",
            "response_code_details": "via_upstream",
            "duration_ms": 3.2,
            "upstream_service_time_ms": 3.0,
            "upstream_cluster": "outbound|9080|v1|reviews.default.svc.cluster.local",
            "source_workload": "productpage-v1",
            "destination_service": "reviews.default.svc.cluster.local",
            "attempts": 1,
            "grpc_status": 14,
            "peer_principal": "spiffe://cluster.local/ns/default/sa/a",
            "filter_metadata": {"tenant": "x"},
            "attributes": {"surprise": {"a": [1]}},
        },
    }


def test_what_is_of_another_type_than_its_place_is_an_attribute() -> None:
    odd = {"path": {"a": 1}, "bytes_sent": "many", "duration": True, "attempts": 1.5, "trace_id": "no"}
    record = access(1, **odd)._replace(trace_id=None)
    made = document(record)
    assert made["remora"]["attributes"] == odd
    assert "url" not in made or "path" not in made["url"]
    assert made["http"]["response"] == {"status_code": 200}


def test_a_connection_of_bytes_says_where_it_went() -> None:
    made = document(access(1, protocol="TCP", method=None, path=None, upstream_cluster="outbound|6379||cache"))
    assert made["message"] == "TCP outbound|6379||cache -"


def test_a_line_of_an_application_has_the_names_of_ecs_whoever_wrote_it() -> None:
    record = log(
        "chunk:a/3",
        "boom",
        **{
            "service.name": "reviews",
            "version": "v2",
            "span_id": "00f067aa0ba902b7",
            "logger": "app.views",
            "exception.type": "KeyError",
            "exception.stacktrace": "Traceback",
            "stream": "stderr",
            "service": "reviews",
            "container.name": "main",
            "log.file.path": "/var/log/containers/x.log",
            "k8s.pod.labels": {"version": "v2"},
            "user": {"id": 7},
            "kubernetes": {
                "pod_name": "reviews-1",
                "namespace_name": "shop",
                "container_name": "main",
                "pod": "another",
                "labels": {"app": "reviews"},
                "owner": ["x"],
            },
        },
    )
    made = document(record._replace(trace_id="a" * 32))
    assert made["service"] == {"name": "reviews", "version": "v2"}
    assert made["trace"] == {"id": "a" * 32}
    assert made["span"] == {"id": "00f067aa0ba902b7"}
    assert made["log"] == {"logger": "app.views", "level": "info", "file": {"path": "/var/log/containers/x.log"}}
    assert made["container"] == {"name": "main"}
    assert made["error"] == {"type": "KeyError", "stack_trace": "Traceback"}
    assert made["kubernetes"] == {"namespace": "shop", "pod": {"name": "reviews-1"}, "container": {"name": "main"}}
    assert made["labels"] == {"app": "reviews", "version": "v2"}
    assert made["event"] == {"id": "chunk:a/3", "dataset": "remora.app", "sequence": 3}
    assert made["remora"] == {
        "workload": "reviews-v1",
        "output": "stderr",
        "stream": "chunk:a",
        "tag": "app.log",
        "attributes": {"user": {"id": 7}, "kubernetes": {"pod": "another", "owner": ["x"]}},
    }


def test_a_message_too_long_to_search_is_kept_whole_beside_it() -> None:
    made = document(log("a/1", "x" * 10_000_000))
    assert len(made["message"]) == MAX_MESSAGE_CHARS
    assert len(made["event"]["original"]) == 10_000_000
    assert made["tags"] == ["remora-message-cut"]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOW, "2026-01-31T12:00:00.000000Z"),
        (NOW + 0.123456, "2026-01-31T12:00:00.123456Z"),
        (NOW + 0.9999999, "2026-01-31T12:00:01.000000Z"),
        (31622400.0, "1971-01-02T00:00:00.000000Z"),
    ],
)
def test_times_have_microseconds(time: float, text: str) -> None:
    assert document(log("a/1", "x", time=time))["@timestamp"] == text


@pytest.mark.parametrize(
    "time",
    [-62_135_596_800.0, 0.0, 253_402_300_799.0, NOW + 601, math.nan, math.inf, -math.inf, 1e300],
    ids=["year 1", "1970", "year 9999", "ten minutes ahead", "no number", "infinite", "minus infinite", "beyond all"],
)
def test_a_time_that_cannot_be_is_that_of_arrival_and_kept_beside_it(time: float) -> None:
    made = document(log("a/1", "x", time=time))
    assert made["@timestamp"] == "2026-01-31T12:00:00.000000Z"
    assert made["remora"]["original_time"] == repr(time)
    assert made["tags"] == ["remora-clock-off"]


def test_the_id_is_the_digest_of_the_record_s_and_fits_into_addresses() -> None:
    digest = hashlib.sha256(b"chunk:a/0").digest()[:20]
    assert document_id("chunk:a/0") == urlsafe_b64encode(digest).decode().rstrip("=")
    assert len(document_id("chunk:a/0")) == 27
    assert document_id("\ud800") != document_id("?")


def test_a_reading_is_known_by_its_series_and_time() -> None:
    series = labels("a-v1", "b-v1")
    one = requests(NOW, 3.0, series)
    assert sample_id(one) == sample_id(requests(NOW, 4.0, series))
    assert sample_id(one) != sample_id(requests(NOW + 1, 3.0, series))
    assert sample_id(one) != sample_id(requests(NOW, 3.0, labels("a-v1", "b-v2")))


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("sidecar~a.b/e1/17", ("sidecar~a.b/e1", 17)),
        ("chunk:x/0", ("chunk:x", 0)),
        ("tail:12-34/1024-2048", ("tail:12-34", 1024)),
        ("tail:x/1024-", ("tail:x/1024-", None)),
        ("chunk:x/", ("chunk:x/", None)),
        ("plain", ("plain", None)),
        ("a/-1", ("a/-1", None)),
        ("a/٣", ("a/٣", None)),
        ("a/" + "9" * 19, ("a/" + "9" * 19, None)),
        ("/5", ("", 5)),
    ],
)
def test_the_number_at_the_end_of_an_id_orders_its_stream(id_: str, expected: tuple[str, int | None]) -> None:
    assert position(id_) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=10,
)


@given(
    body=st.dictionaries(st.text(st.characters(codec=None)), anything, max_size=8),
    tag=st.sampled_from([ACCESS_TAG, "app"]),
)
def test_whatever_a_body_holds_becomes_json_on_one_line(body: dict[str, Any], tag: str) -> None:
    encoder = Encoder("default", Timestamps(600.0))
    record = LogRecord("a/1", NOW, tag, "w", "info", None, body)
    for made in (encoder.log(record, NOW), encoder.reduced(record, NOW, "why")):
        assert b"\n" not in made.source
        assert orjson.loads(made.source)["event"]["id"] == "a/1"


def test_what_json_has_no_word_for_is_text() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    made = orjson.loads(encode({"n": 2**100, "s": "a\ud800", "b": b"\xff", "t": (1, 2), "deep": deep, 3: "key"}))
    assert made["n"] == str(2**100)
    assert made["s"] == "a?"
    assert made["b"] == "�"
    assert made["t"] == [1, 2]
    assert made["3"] == "key"


def test_a_reading_keeps_its_exemplars() -> None:
    exemplar = Exemplar((("trace_id", "a" * 32),), 7.0, NOW)
    sample = durations(NOW, [7.0], labels("a-v1", "b-v1"))._replace(kind="histogram", exemplars=(exemplar,))
    metric = orjson.loads(Encoder("default", Timestamps(600.0)).sample(sample, NOW).source)["remora"]["metric"]
    assert (metric["kind"], metric["count"], metric["sum"]) == ("histogram", 1.0, 7.0)
    assert metric["exemplars"] == [{"labels": {"trace_id": "a" * 32}, "value": 7.0, "time": NOW}]
    assert len(metric["bounds"]) == len(metric["counts"]) - 1


def test_every_field_of_a_document_is_in_the_mapping() -> None:
    encoder = Encoder("default", Timestamps(600.0))
    record = log(
        "a/1", "x" * (MAX_MESSAGE_CHARS + 1), time=0.0, logger="l", span_id="0" * 15 + "1",
        **{"k8s.pod.name": "p", "host.name": "h", "log.file.path": "/x", "exception.message": "m", "x": 1},
    )  # fmt: skip
    batch = Batch(logs=[access(1, grpc_status=0, filter_metadata={"a": 1}), record])
    sources = [encoder.log(each, NOW).source for each in batch.logs]
    sources += [encoder.reduced(record, NOW, "why").source]
    series = labels("a-v1", "b-v1")
    sources += [encoder.sample(requests(NOW, value, series), NOW).source for value in (None, 1.0)]
    sample = durations(NOW, [1.0], series)._replace(kind="histogram", exemplars=(Exemplar((), 1.0, NOW),))
    sources += [encoder.sample(sample, NOW).source]
    mapping = next(
        piece.body["template"]["mappings"]
        for piece in pieces(Retention("none", 0, 0, 0), shards=None, replicas=None)
        if "mappings" in piece.body.get("template", {})
    )
    for source in sources:
        _within(orjson.loads(source), mapping, "")


def _within(value: dict[str, Any], mapping: dict[str, Any], path: str) -> None:
    for key, each in value.items():
        assert key in mapping["properties"], f"{path}{key} is not in the mapping"
        field = mapping["properties"][key]
        if "properties" in field:
            _within(each, field, f"{path}{key}.")
        elif field["type"] != "flattened":
            assert not isinstance(each, dict), f"{path}{key} is a map in a field of type {field['type']}"
