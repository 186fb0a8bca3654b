"""Which records tell of a failure, and which failures are the same."""

from dataclasses import dataclass
from typing import Any

import pytest

from collectors.failures import Failure, of_log, of_span
from collectors.failures.failure import MAX_SAMPLE_CHARS, MAX_TITLE_CHARS
from collectors.failures.recognize import owner
from collectors.failures.template import generalize
from collectors.records import LogRecord, SpanRecord
from tests.collectors.build import NOW, access, log
from tests.collectors.failures.test_stacktrace import JAVA, PYTHON


def _span(error: bool = True, **changes: Any) -> SpanRecord:
    base = SpanRecord("a" * 32, "b" * 16, None, "shop", "shop-v2", "POST /orders", "server", NOW, 100.0, error, {})
    return base._replace(**changes)


def _exception(kind: str, message: str, stack: str = "") -> dict[str, Any]:
    fields = {"exception.type": kind, "exception.message": message}
    return {
        "name": "exception",
        "time_ns": 1,
        "attributes": {**fields, **({"exception.stacktrace": stack} if stack else {})},
    }


def _error(message: str, **fields: Any) -> LogRecord:
    return log("id", message, **fields)._replace(severity="error")


def found(failure: Failure | None) -> Failure:
    assert failure is not None
    return failure


@dataclass(frozen=True)
class Message:
    text: str
    template: str


@pytest.mark.parametrize(
    "message",
    [
        Message("user 17 not found", "user <n> not found"),
        Message("cannot open \"/tmp/x.txt\" or 'y'", "cannot open <text> or <text>"),
        Message("order 3f2504e0-4f89-11d3-9a0c-0305e82c3301 failed", "order <uuid> failed"),
        Message("at 2026-01-31T12:00:00.5Z from 10.1.2.3:8080", "at <time> from <address>"),
        Message("ann@example.com took 1.5s, -3 and 0xdeadBEEF", "<email> took <n>s, <n> and <hex>"),
        Message("commit 9daeafb9864cf430 in v2 of http2", "commit <hex> in v2 of http2"),
        Message("  two\n lines\t", "two lines"),
        Message("facade", "facade"),
    ],
    ids=lambda message: message.text,
)
def test_a_template_has_what_stays_the_same(message: Message) -> None:
    assert generalize(message.text) == message.template


@pytest.mark.parametrize(
    ("workload", "service"), [("reviews-v3", "reviews"), ("a-1.2.3", "a"), ("cart", "cart"), ("-v1", "-v1")]
)
def test_who_failed_is_the_workload_without_its_version(workload: str, service: str) -> None:
    assert owner(workload) == service


def test_answers_of_5xx_are_failures_and_others_are_none() -> None:
    assert of_log(access(1)) is None
    assert of_log(access(1, response_code=404)) is None
    assert of_log(access(1, response_code=0)) is None
    failure = found(of_log(access(1, response_code=503, response_flags="UH", route_name="reviews.default/http[0]")))
    assert failure.kind == "response"
    assert failure.service == "productpage"
    assert failure.title == "503 UH asking reviews.default.svc.cluster.local"
    assert failure.culprit == "route reviews.default/http[0]"
    assert failure.release == "v1"
    assert failure.trace_id == f"{2:032x}"


def test_what_reached_no_service_is_shown_by_what_was_asked_for() -> None:
    failure = found(of_log(access(1, response_code=503, destination_service="unknown", authority="ratings:9080")))
    assert failure.title == "503 asking ratings:9080"


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"path": "/other?x=1", "request_id": "other"}, True),
        ({"workload": "productpage-v2"}, True),
        ({"response_code": 500}, False),
        ({"response_flags": "UF"}, False),
        ({"route_name": "another"}, False),
        ({"direction": "inbound"}, False),
        ({"workload": "reviews-v1"}, False),
        ({"destination_service": "ratings.default.svc.cluster.local"}, False),
    ],
)
def test_answers_are_the_same_by_who_route_code_and_flags(changes: dict[str, Any], same: bool) -> None:
    base = {"response_code": 503, "response_flags": "UH"}
    first, second = found(of_log(access(1, **base))), found(of_log(access(2, **{**base, **changes})))
    assert (first.fingerprint == second.fingerprint) is same


def test_a_logged_error_is_grouped_by_its_template_and_logger() -> None:
    first = found(of_log(_error("user 17 not found", logger="shop.users")))
    assert (first.kind, first.title, first.culprit) == ("message", "user <n> not found", "shop.users")
    assert first.fingerprint == found(of_log(_error("user 18 not found", logger="shop.users"))).fingerprint
    assert first.fingerprint != found(of_log(_error("user 17 not found", logger="shop.carts"))).fingerprint
    assert first.fingerprint != found(of_log(_error("user 17 is locked", logger="shop.users"))).fingerprint
    assert of_log(log("id", "user 17 not found")) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"message": PYTHON},
        {"message": "it broke", "exc_info": PYTHON},
        {"msg": "it broke", "error.stack_trace": PYTHON},
        {
            "message": "it broke",
            "exception.type": "KeyError",
            "exception.message": "'x'",
            "exception.stacktrace": PYTHON,
        },
    ],
    ids=["in the message", "beside it", "ECS", "OpenTelemetry"],
)
def test_an_exception_is_the_same_wherever_it_is_written(fields: dict[str, Any]) -> None:
    record = LogRecord("id", NOW, "app.log", "reviews-v1", "error", None, fields)
    wanted = found(of_log(_error(PYTHON)))
    failure = found(of_log(record))
    assert failure.kind == "exception"
    assert failure.fingerprint == wanted.fingerprint
    assert failure.title.startswith("KeyError: <text>")
    assert failure.culprit == "shop/main.py:handle"
    assert "Traceback" in failure.sample


def test_a_traceback_from_a_stream_without_levels_is_a_failure_too() -> None:
    assert found(of_log(log("id", PYTHON))).kind == "exception"
    assert found(of_log(log("id", JAVA))).title == "IllegalStateException: no order <n>"


def test_with_frames_the_message_does_not_matter() -> None:
    other = PYTHON.replace("'order'", "'customer of another kind'")
    assert found(of_log(_error(PYTHON))).fingerprint == found(of_log(_error(other))).fingerprint


def test_an_exception_without_frames_is_known_by_its_message() -> None:
    def of(message: str) -> Failure:
        return found(of_log(_error("it broke", **{"exception.type": "Boom", "exception.message": message})))

    assert of("order 1").fingerprint == of("order 2").fingerprint
    assert of("order 1").fingerprint != of("cart 1").fingerprint


def test_a_spans_exception_is_a_failure_with_its_trace() -> None:
    failure = found(of_span(_span(events=[_exception("KeyError", "'x'", PYTHON)])))
    assert (failure.kind, failure.service, failure.trace_id) == ("exception", "shop", "a" * 32)
    assert failure.time == NOW + 0.1
    assert failure.sample == PYTHON
    bare = found(of_span(_span(events=[_exception("KeyError", "'x'")])))
    assert bare.culprit == "POST /orders"
    assert bare.sample == "KeyError: 'x'"


def test_the_same_exception_in_log_and_span_of_one_service_is_one_group() -> None:
    span = found(of_span(_span(service="shop", events=[_exception("KeyError", "'x'", PYTHON)])))
    line = found(of_log(_error(PYTHON, service="shop")))
    assert span.fingerprint == line.fingerprint


def test_a_span_with_the_status_error_is_a_failure() -> None:
    failure = found(of_span(_span(status_message="order 5 refused", attributes={"http.response.status_code": 500})))
    assert (failure.kind, failure.title) == ("span", "500 POST /orders order <n> refused")
    again = found(of_span(_span(status_message="order 6 refused", attributes={"http.response.status_code": 500})))
    assert failure.fingerprint == again.fingerprint
    assert of_span(_span(error=False)) is None


def test_proxies_spans_tell_what_access_records_tell_already() -> None:
    assert of_span(_span(attributes={"response_flags": "UH", "http.response.status_code": 503})) is None


@pytest.mark.parametrize(
    ("record", "release"),
    [
        (_error("x", version="1.4"), "1.4"),
        (_error("x", **{"service.version": "1.5", "version": "9"}), "1.5"),
        (_error("x", **{"k8s.pod.labels": {"version": "v7"}}), "v7"),
        (_error("x", **{"k8s.pod.labels": {"version": "v7", "app.kubernetes.io/version": "2"}}), "2"),
        (_error("x"), "v1"),
        (_error("x")._replace(workload="reviews"), ""),
    ],
    ids=[
        "a field",
        "the convention's field",
        "a pod's label",
        "the recommended label",
        "the workload's name",
        "nowhere",
    ],
)
def test_the_release_is_what_the_record_knows(record: LogRecord, release: str) -> None:
    assert found(of_log(record)).release == release


def test_a_spans_release_is_its_resources() -> None:
    assert found(of_span(_span(resource={"service.version": "3.1"}))).release == "3.1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": None},
        {"message": 7},
        {"message": b"\xff bytes"},
        {"exception.type": 5, "k8s.pod.labels": "no map"},
        {"message": "x" * 1_000_000, "exc_info": "y" * 1_000_000},
        {"message": "\ud800"},
    ],
    ids=["nothing", "null", "a number", "bytes", "wrong types", "a megabyte", "half a character"],
)
def test_hostile_bodies_are_failures_of_bounded_size(body: dict[str, Any]) -> None:
    failure = found(of_log(LogRecord("id", NOW, "app.log", "w", "error", None, body)))
    assert len(failure.title) <= MAX_TITLE_CHARS
    assert len(failure.culprit) <= MAX_TITLE_CHARS
    assert len(failure.sample) <= MAX_SAMPLE_CHARS
    "".join(text for text in failure if isinstance(text, str)).encode()


def test_names_are_of_bounded_length() -> None:
    failure = found(of_log(_error("x", service="s" * 10_000, version="v" * 10_000)))
    assert len(failure.service) == 253
    assert len(failure.release) == 100
