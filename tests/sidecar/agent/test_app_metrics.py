"""The application's metrics beside ours."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from sidecar.agent import app_metrics
from sidecar.agent.app_metrics import Unscrapable, fetch, fit
from sidecar.agent.metric_store import MetricStore
from sidecar.agent.metrics_page import MetricsPage
from tests.sidecar.agent.test_metric_store import FakeClock

OURS = "# HELP process_cpu_seconds_total x\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1\n"


class App:
    """An application that answers what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"app_up 1\n"
        self.headers: dict[str, str] = {}
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
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
    assert fit(fetch(app.url), OURS) == (
        '# HELP app_up Up.\n# TYPE app_up gauge\napp_up{a="} 1",b="\\""} 1 1700000000000\n'
    )


def test_families_that_we_have_too_are_left_out() -> None:
    theirs = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 9\nother_total 3\n"
    assert fit(theirs, OURS) == "other_total 3\n"


def test_a_histogram_that_we_have_too_is_left_out_with_all_its_lines() -> None:
    ours = "# TYPE h histogram\n"
    theirs = '# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\nh_other 1\n'
    assert fit(theirs, ours) == "h_other 1\n"


@pytest.mark.parametrize("line", ["<html>", "a", "a b c d", '{a="1"} 1', "a{ 1"])
def test_a_line_that_is_none_spoils_only_theirs(line: str) -> None:
    with pytest.raises(Unscrapable, match="not a line of metrics"):
        fit(f"fine 1\n{line}\n", OURS)


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
    body: bytes, merged: bool, failures: int, app: App
) -> None:
    app.body = body
    page = MetricsPage(MetricStore(FakeClock()), list, list, app.url)
    text = (await page.render()).decode()
    assert "remora_agent_process_cpu_seconds_total" in text
    assert ("app_up 1\n" in text) is merged
    assert page.app_failures == failures
