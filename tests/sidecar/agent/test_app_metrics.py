"""The application's metrics beside ours."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sidecar.agent import app_metrics
from sidecar.agent.app_metrics import Scraped, Unscrapable, fetch, fit
from sidecar.agent.metric_store import MetricStore
from sidecar.agent.metrics_page import MetricsPage
from sidecar.agent.openmetrics import is_preferred
from sidecar.agent.vitals import Vital
from sidecar.config.messages import Exemplar, Growth
from tests.sidecar.agent.test_metric_store import FakeClock, metrics, series

OURS = "# HELP process_cpu_seconds_total x\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1\n"


def plain(text: str) -> Scraped:
    return Scraped(text, False)


class App:
    """An application that answers what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"app_up 1\n"
        self.headers: dict[str, str] = {}
        self.accepted: list[str] = []
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                app.accepted.append(self.headers["accept"])
                self.send_response(app.status)
                for name, value in app.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(app.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    yield app
    app.server.shutdown()
    app.server.server_close()


def test_lines_of_the_application_are_kept(app: App) -> None:
    app.body = b'# HELP app_up Up.\n# TYPE app_up gauge\napp_up{a="} 1",b="\\""} 1 1700000000000\n\n# a remark\n# EOF\n'
    assert fit(fetch(app.url), OURS).text == (
        '# HELP app_up Up.\n# TYPE app_up gauge\napp_up{a="} 1",b="\\""} 1 1700000000000\n'
    )


def test_families_that_we_have_too_are_left_out() -> None:
    theirs = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 9\nother_total 3\n"
    assert fit(plain(theirs), OURS) == ("other_total 3\n", 1)


def test_a_histogram_that_we_have_too_is_left_out_with_all_its_lines() -> None:
    ours = "# TYPE h histogram\n"
    theirs = '# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\nh_other 1\n'
    assert fit(plain(theirs), ours) == ("h_other 1\n", 3)


@pytest.mark.parametrize("line", ["<html>", "a", "a b c d", '{a="1"} 1', "a{ 1"])
def test_a_line_that_is_none_spoils_only_theirs(line: str) -> None:
    with pytest.raises(Unscrapable, match="not a line of metrics"):
        fit(plain(f"fine 1\n{line}\n"), OURS)


def test_an_error_is_no_metrics(app: App) -> None:
    app.status = 404
    with pytest.raises(Unscrapable, match="answered 404"):
        fetch(app.url)


def test_a_redirect_is_not_followed(app: App) -> None:
    app.status, app.headers = 302, {"location": "http://169.254.169.254/"}
    with pytest.raises(Unscrapable, match="answered 302"):
        fetch(app.url)


def test_more_than_the_bound_is_not_read(app: App) -> None:
    app.body = b"a" * (app_metrics.MAX_BYTES + 1)
    with pytest.raises(Unscrapable, match="more than"):
        fetch(app.url)


def test_an_application_that_is_down(app: App) -> None:
    app.server.server_close()
    with pytest.raises(Unscrapable, match=r"Connection\w+Error"):
        fetch(app.url)


@pytest.mark.parametrize(
    ("body", "merged", "failures"),
    [(b"app_up 1\n", True, 0), (b"<html>\n", False, 1), (b"\xff", False, 1)],
    ids=["good", "no metrics", "no text"],
)
async def test_the_page_has_ours_whatever_the_application_does(
    body: bytes, merged: bool, failures: int, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    app.body = body
    page = MetricsPage(MetricStore(FakeClock()), list, list, app.url)
    text = (await page.render()).decode()
    assert "remora_agent_process_cpu_seconds_total" in text
    assert ("app_up 1\n" in text) is merged
    assert page.app_failures == failures
    assert page.app_up is merged
    assert ("application's metrics" in caplog.text) is not merged


def test_what_a_sidecar_measures_is_no_applications_to_say() -> None:
    theirs = '# TYPE istio_requests_total counter\nistio_requests_total{source_workload="other"} 9\nremora_x 1\na 1\n'
    assert fit(plain(theirs), "") == ("a 1\n", 2)


OPEN = """\
# TYPE app_hits counter
# UNIT app_hits hits
app_hits_total{a="} # {"} 5 1769860800.5 # {trace_id="abc"} 1.0 1769860800.123
# TYPE process_cpu_seconds counter
process_cpu_seconds_total 9.0
# EOF
"""


def test_openmetrics_of_the_application_stays_and_its_exemplars_too() -> None:
    assert fit(Scraped(OPEN, True), OURS) == ("".join(line + "\n" for line in OPEN.splitlines()[:3]), 1)


async def test_the_page_in_openmetrics_is_what_the_reference_parser_reads(app: App) -> None:
    app.headers = {"content-type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
    app.body = OPEN.encode()
    store = MetricStore(FakeClock())
    store.add(1, metrics(replace(series(), exemplars=(Exemplar(2, "1" * 32, 3.5, 1769860800.25),))))
    store.add(1, metrics(counters=(Growth("envoy_cluster_upstream_cx_connect_fail", (("a", 'b"c'),), 3),)))
    page = MetricsPage(store, lambda: [Vital("remora_agent_x_total", 'With "quotes".', 2)], list, app.url)
    text = (await page.render(openmetrics_wanted=True)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["istio_requests"].type == "counter"
    assert families["envoy_cluster_upstream_cx_connect_fail"].type == "unknown", "counters are called _total"
    assert families["remora_agent_x"].documentation == 'With "quotes".'
    durations = families["istio_request_duration_milliseconds"].samples
    exemplars = [sample.exemplar for sample in durations if sample.exemplar]
    assert [(each.labels, each.value) for each in exemplars] == [({"trace_id": "1" * 32}, 3.5)]
    (hits,) = families["app_hits"].samples
    assert (float(hits.timestamp), hits.exemplar.labels) == (1769860800.5, {"trace_id": "abc"})


async def test_an_application_that_knows_the_text_format_alone_is_converted(app: App) -> None:
    app.headers = {"content-type": "text/plain; version=0.0.4"}
    app.body = b"""\
# HELP hits_total Say "hi".
# TYPE hits_total counter
hits_total{a="1"} 5 1700000000123
# TYPE odd untyped
odd 3 1700000000000
"""
    page = MetricsPage(MetricStore(FakeClock()), list, list, app.url)
    text = (await page.render(openmetrics_wanted=True)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert (families["hits"].type, families["hits"].documentation) == ("counter", 'Say "hi".')
    assert float(families["hits"].samples[0].timestamp) == 1700000000.123
    assert (families["odd"].type, float(families["odd"].samples[0].timestamp)) == ("unknown", 1700000000)
    assert text.endswith("# EOF\n")
    assert app.accepted == ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"]


async def test_an_application_that_says_openmetrics_unasked_is_left_out(app: App) -> None:
    app.headers, app.body = {"content-type": "application/openmetrics-text"}, OPEN.encode()
    page = MetricsPage(MetricStore(FakeClock()), list, list, app.url)
    assert "app_hits" not in (await page.render()).decode()
    assert page.app_up is False


def test_an_application_that_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    clock = iter(range(100))
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"a")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(Unscrapable, match="was not done within 2 s"):
        fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/", monotonic=lambda: float(next(clock)))
    thread.join(10)
    listener.close()


def test_an_answer_that_is_cut_off_is_none(app: App) -> None:
    app.headers = {"content-length": "100"}
    with pytest.raises(Unscrapable):
        fetch(app.url)


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text; version=1.0.0; q=0.3, text/plain; q=0.9", False),
        ("text/plain;version=0.0.4", False),
        ("", False),
        ("*/*", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;q=0", False),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_the_scraper_prefers(accept: str, preferred: bool) -> None:
    assert is_preferred(accept) is preferred
