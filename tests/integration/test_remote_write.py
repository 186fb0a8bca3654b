"""A real collector writes to a real Prometheus, which is away for a while."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.mesh import until
from tests.integration.prometheus import Prometheus, prometheus

INTERVAL_S = 0.5


class Application:
    """A target whose counter grows by one with each scrape, so that no scrape can be missing unseen."""

    def __init__(self) -> None:
        self.count = 0
        self.histogram = [0, 0]
        application = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = application.scraped().encode()
                self.send_response(200)
                self.send_header("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def scraped(self) -> str:
        self.count += 1
        count = self.count
        return f"""\
# TYPE scrapes counter
scrapes_total{{path="/a",user="u1"}} {count}
scrapes_total{{path="/a",user="u2"}} {count}
# TYPE took_seconds histogram
took_seconds_bucket{{le="0.1"}} {count // 2}
took_seconds_bucket{{le="+Inf"}} {count} # {{trace_id="{count:032x}"}} 3.5
took_seconds_sum {count * 2}
took_seconds_count {count}
# EOF
"""

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application()
    yield application
    application.close()


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes nothing."""
    directory = tmp_path / "prometheus"
    directory.mkdir()
    flags = ("--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage")
    with prometheus(directory, "global: {}\n", *flags) as served:
        yield served


SETTINGS = """
receivers:
  scrape:
    interval: 500ms
    jobs:
      - {{name: app, static: ["{address}"]}}
processors:
  tidy:
    type: relabel
    rules:
      - {{source_labels: [path], target_label: route}}
      - {{action: labeldrop, regex: path}}
  summed:
    type: aggregate
    metrics: scrapes_total
    drop: [user]
    interval: 500ms
routes:
  - match: {{signals: [metrics]}}
    processors: [tidy]
    exporters: [prometheus]
    continue: true
  - match: {{signals: [metrics]}}
    processors: [summed]
    exporters: [sums]
exporters:
  prometheus:
    type: remote_write
    url: {url}/api/v1/write
    external_labels: {{cluster: here}}
    buffer: {{retry_max: 1s}}
  sums:
    type: remote_write
    url: {url}/api/v1/write
    external_labels: {{cluster: sums}}
    buffer: {{retry_max: 1s}}
"""


@contextmanager
def collecting(tmp_path: Path, address: str, url: str) -> Iterator[str]:
    """The health address of a collector outside any mesh."""
    config = tmp_path / "collector.yaml"
    config.write_text(SETTINGS.format(address=address, url=url))
    read, write = os.pipe()
    argv = [sys.executable, "-m", "remora", "collect", "--state", str(tmp_path / "state"), "--config", str(config)]
    argv += ["--ready-fd", str(write), "--health", "127.0.0.1:0"]
    with open(tmp_path / "collect.log", "wb") as log:
        process = subprocess.Popen(argv, pass_fds=(write,), stdout=log, stderr=log)
    os.close(write)
    try:
        with os.fdopen(read) as file:
            line = file.readline()
        assert line, (tmp_path / "collect.log").read_text()
        yield json.loads(line)["health"]
    finally:
        process.terminate()
        assert process.wait(20) == 0, (tmp_path / "collect.log").read_text()


def test_an_outage_leaves_no_gap_in_any_series(
    application: Application, receiving: Prometheus, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    outage_s = 60.0 if request.config.getoption("--soak") else 5.0
    raw = 'scrapes_total{cluster="here",user="u1"}'
    with collecting(tmp_path, application.address, receiving.url) as health:
        until(lambda: len(receiving.samples(raw).get(application.address, [])) >= 3, "samples arrive", within=30)
        receiving.stop()
        before = application.count
        # Time must pass here: it is what is tested.
        time.sleep(outage_s)
        assert application.count - before >= outage_s / INTERVAL_S * 0.7, "it went on being scraped"
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"http://{health}/healthz").status_code == 200, (
                "a back end that is away makes no collector ill"
            )
        after = application.count
        receiving.start()

        def newest() -> float:
            return max((value for _, value in receiving.samples(raw).get(application.address, [])), default=0)

        until(lambda: newest() > after + 2, "what was scraped after the outage is there", within=60)
        labels = receiving.query(raw)[0]["metric"]
        report = client_json(health, "/cardinality")
        samples = receiving.samples(raw)[application.address]

    assert labels == {
        "__name__": "scrapes_total", "cluster": "here", "instance": application.address, "job": "app", "route": "/a",
        "user": "u1",
    }  # fmt: skip
    values = [value for _, value in samples]
    # The very first scrape may have been before the first reading that Prometheus was told of; none may lack after it.
    assert values == [float(number) for number in range(int(values[0]), int(values[-1]) + 1)], "no scrape is missing"
    assert values[0] == 1
    assert len(values) >= outage_s / INTERVAL_S
    buckets = receiving.samples('took_seconds_bucket{cluster="here",le="+Inf"}')[application.address]
    assert [value for _, value in buckets][: len(values)] == values
    exemplars = receiving.ask("/api/v1/query_exemplars", query="took_seconds_bucket", start=0, end=time.time() + 60)
    traces = {each["labels"]["trace_id"] for each in exemplars["data"][0]["exemplars"]}
    assert f"{before + 1:032x}" in traces, "an exemplar of the outage"
    # The sum over users grows by two with each scrape, and has no user.
    sums = receiving.query('last_over_time(scrapes_total{cluster="sums"}[1h])')
    assert [each["metric"].get("user") for each in sums] == [None]
    assert float(sums[0]["value"][1]) >= 2 * (after - 1)
    assert {metric["name"] for metric in report["collector"]["metrics"]} >= {"scrapes_total", "took_seconds", "up"}
    # The collector has ended: so have its series, at once and not after five minutes.
    until(lambda: receiving.query(raw) == [], "stale markers end the series")


def client_json(address: str, path: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    with httpx.Client(trust_env=False) as client:
        found: dict[str, dict[str, list[dict[str, str]]]] = client.get(f"http://{address}{path}").json()
        return found
