"""remora errors, remora metrics, and the way from a trace to its logs, on a store as the collector fills it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from collectors.records import Batch, LogRecord, SpanRecord
from tests.collectors.build import access, access_body, fill, labels, log, requests
from tests.remora.conftest import FakeControl, Remora

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

TRACEBACK = """Traceback (most recent call last):
  File "/app/shop/orders.py", line 10, in place
    raise OutOfStock(x)
OutOfStock: order 17 \x1b[31m
"""


@pytest.fixture
def stored(control: FakeControl) -> Path:
    """Two kinds of errors, one of them old, and requests to two workloads of a service."""
    now = time.time()
    batch = Batch()
    for number in range(5):
        batch.logs.append(access(number, time=now - 60, response_code=503, response_flags="UH", trace_id=TRACE))
    line = log("boom", TRACEBACK, time=now - 30, trace_id=TRACE, service="shop", version="2.1")
    batch.logs.append(LogRecord(*line[:4], "error", TRACE, line.body))
    batch.logs.append(log("old", "disk is full", time=now - 7200)._replace(severity="error"))
    for index, (workload, error) in enumerate((("reviews-v1", False), ("reviews-v2", True))):
        attributes = {"response_flags": "-", "url.path": "/reviews/0"}
        batch.spans.append(
            SpanRecord(f"{index + 1:032x}", "b" * 16, None, "reviews", workload, "GET reviews", "server", now - 50,
                       10.0 * (index + 1), error, attributes)
        )  # fmt: skip
    batch.spans.append(
        SpanRecord(TRACE, "c" * 16, None, "productpage", "productpage-v1", "GET /", "server", now - 60, 5.0, True, {})
    )
    for workload in ("reviews-v1", "reviews-v2"):
        where = labels("productpage-v1", workload)
        batch.samples += [requests(now - 100, 0, where), requests(now - 10, 60, where)]
    path = control.state / "store" / "telemetry.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    fill(path, batch, now=now)
    return path


def test_errors_are_listed_most_frequent_first(remora: Remora, stored: Path) -> None:
    result = remora("errors")
    assert result.status == 0
    head, first, *rest = result.out.splitlines()
    assert head.split() == [
        "RECENT", "COUNT", "LAST", "FIRST", "RELEASE", "SERVICE", "ERROR", "WHERE", "TRACE", "FINGERPRINT",
    ]  # fmt: skip
    assert first.split()[:2] == ["5", "5"]
    assert "503 UH asking reviews.default.svc.cluster.local" in first
    assert any("OutOfStock: order <n>" in line and "shop/orders.py:place" in line and "2.1" in line for line in rest)
    assert "disk" not in result.out


def test_the_answer_as_json_has_every_field(remora: Remora, stored: Path) -> None:
    found = remora("errors", "-o", "json", "--since", "3h").json()
    assert {group["kind"] for group in found} == {"response", "exception", "message", "span"}
    first = found[0]
    assert (first["count"], first["recent"], first["trace_id"], first["first_release"]) == (5, 5, TRACE, "v1")
    assert len(first["fingerprint"]) == 16


@pytest.mark.parametrize(
    ("argv", "titles"),
    [
        (("--service", "shop"), ["OutOfStock: order <n>"]),
        (("--kind", "exception"), ["OutOfStock: order <n>"]),
        (("outofstock",), ["OutOfStock: order <n>"]),
        (("disk", "--since", "3h"), ["disk is full"]),
        (("disk", "--since", "3h", "--new", "--kind", "span"), []),
        (("nowhere",), []),
    ],
)
def test_errors_are_filtered(remora: Remora, stored: Path, argv: tuple[str, ...], titles: list[str]) -> None:
    found = remora("errors", *argv, "-o", "json").json()
    assert [" ".join(group["title"].split()[:3]) for group in found] == titles


def test_one_group_is_shown_with_its_last_occurrence_and_the_next_step(remora: Remora, stored: Path) -> None:
    (group,) = remora("errors", "--kind", "exception", "-o", "json").json()
    result = remora("errors", group["fingerprint"])
    assert result.status == 0
    assert 'File "/app/shop/orders.py", line 10, in place' in result.out
    assert f"remora traces {TRACE} --logs" in result.out
    assert " in 2.1" in result.out
    # What an application wrote moves no terminal.
    assert "\x1b" not in result.out
    assert remora("errors", group["fingerprint"], "-o", "json").json() == group


def test_a_group_that_is_not_there_is_an_answer_of_no(remora: Remora, stored: Path) -> None:
    result = remora("errors", "0" * 16)
    assert (result.status, result.err) == (1, f"no group of errors has the fingerprint {'0' * 16}\n")


def test_no_error_is_said_on_standard_error(remora: Remora, stored: Path) -> None:
    result = remora("errors", "--since", "1s")
    assert (result.status, result.out, result.err) == (0, "", "no error in the last 1s\n")


def test_no_record_is_said_on_standard_error(remora: Remora, stored: Path) -> None:
    result = remora("logs", "--text", "nobody wrote this")
    assert (result.status, result.out, result.err) == (0, "", "no such record in the last 1h\n")
    assert remora("logs", "--text", "nobody wrote this", "-o", "json").json() == []


def test_without_a_store_there_is_one_line(remora: Remora, control: FakeControl) -> None:
    for command in ("errors", "metrics"):
        result = remora(command)
        assert result.status == 1
        assert "remora up" in result.err


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("errors", "--kind", "strange"), "'strange' is none of exception, message, response, span"),
        (("errors", "--since", "soon"), "'soon' is no length of time"),
        (("metrics", "--label", "a=b"), "belongs to --series"),
        (("metrics", "--series", "x", "--label", "ab"), "'ab' is no label"),
        (("traces", "--logs"), "wants one trace"),
    ],
)
def test_wrong_use_is_exit_status_2(remora: Remora, stored: Path, argv: tuple[str, ...], wanted: str) -> None:
    result = remora(*argv)
    assert result.status == 2
    assert wanted in result.err


def test_from_a_trace_its_logs_are_one_option_away(remora: Remora, stored: Path) -> None:
    result = remora("traces", TRACE, "--logs")
    assert result.status == 0
    assert "productpage server GET /" in result.out
    assert result.out.count(" 503 UH ") == 5
    assert "OutOfStock" in result.out
    answer = remora("traces", TRACE, "--logs", "-o", "json").json()
    assert len(answer["logs"]) == 6
    assert [span["service"] for span in answer["spans"]] == ["productpage"]
    assert "logs" not in remora("traces", TRACE, "-o", "json").json()


def test_from_a_log_line_its_trace_is_one_command_away(remora: Remora, stored: Path) -> None:
    found = remora("logs", "--trace", TRACE, "-o", "json").json()
    assert {entry["trace_id"] for entry in found} == {TRACE}
    assert remora("traces", found[0]["trace_id"]).status == 0


def test_metrics_by_service_and_by_workload_have_traces_to_look_at(remora: Remora, stored: Path) -> None:
    (service,) = remora("metrics", "-o", "json").json()
    assert (service["name"], service["versions"]) == ("reviews", ["v1", "v2"])
    assert service["requests_per_s"] == pytest.approx(120 / 300)
    assert (service["slowest_trace"], service["failed_trace"]) == (f"{2:032x}", f"{2:032x}")
    lines: list[dict[str, Any]] = remora("metrics", "reviews-v", "--workloads", "-o", "json").json()
    assert [(line["name"], line["slowest_trace"], line["failed_trace"]) for line in lines] == [
        ("reviews-v1", f"{1:032x}", None),
        ("reviews-v2", f"{2:032x}", f"{2:032x}"),
    ]
    table = remora("metrics").out
    assert table.split()[:4] == ["SERVICE", "NAMESPACE", "VERSIONS", "REQUESTS/S"]
    assert f"{2:032x}" in table
    assert remora("metrics", "nobody", "-o", "json").json() == []
    said = remora("metrics", "reviews-v1").err
    assert said.startswith("no service with reviews-v1 in its name had traffic in the last 5m; ")
    assert said.endswith("there are reviews; by workload: --workloads\n")


def test_a_metrics_own_readings_can_be_asked_for(remora: Remora, stored: Path) -> None:
    series = remora("metrics", "--series", "istio_requests_total", "-o", "json").json()
    assert {one["labels"]["destination_workload"] for one in series} == {"reviews-v1", "reviews-v2"}
    argv = ("metrics", "--series", "istio_requests_total", "--label", "destination_workload=reviews-v1")
    result = remora(*argv)
    assert result.out.splitlines()[1].split()[:3] == ["60.0", "+60", "2"]
    assert remora("metrics", "--series", "nothing").err == "no reading of nothing in the last 5m\n"


def test_an_access_record_without_a_trace_has_none(remora: Remora, control: FakeControl) -> None:
    now = time.time()
    body = access_body(1, response_code=500, trace_id=None)
    path = control.state / "store" / "telemetry.sqlite"
    path.parent.mkdir(parents=True)
    fill(path, Batch(logs=[LogRecord("x", now, "remora.access", "a-v1", "error", None, body)]), now=now)
    (group,) = json.loads(remora("errors", "-o", "json").out)
    assert group["trace_id"] is None
    assert "none is known" in remora("errors", group["fingerprint"]).out
