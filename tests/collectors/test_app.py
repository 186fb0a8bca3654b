"""The collector as its users meet it: a process, real senders, its store."""

import asyncio
import base64
import contextlib
import json
import os
import resource
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from collectors.options import parse
from collectors.store import Reader, Store
from collectors.tls import client_context
from mesh.records import ACCESS_TAG
from mesh.spiffe import SpiffeId
from mesh.state_directory import default_state
from tests.collectors.authority import DOMAIN, PRODUCTPAGE, Doors, Mint
from tests.collectors.build import access_body, labels
from tests.collectors.forward_peers import AckingSender, TlsFluentSender
from tests.collectors.process import Collector
from tests.collectors.receivers.test_otlp import make_spans

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    directory = tmp_path / "ca"
    directory.mkdir()
    async with Doors(Mint(), directory) as doors:
        yield doors


def reader_of(state: Path) -> Reader:
    return Reader.open(state / "store" / "telemetry.sqlite")


async def test_it_may_open_as_many_files_as_the_machine_lets_it(doors: Doors, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1_000), hard))
    try:
        with await asyncio.to_thread(Collector, doors, tmp_path / "state") as collector:
            assert psutil.Process(collector.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
            assert await asyncio.to_thread(collector.stop) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_fluent_logger_s_records_are_found_and_sigterm_ends_it_with_0(doors: Doors, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with await asyncio.to_thread(Collector, doors, state) as collector:
        host, port = collector.address("forward")
        sender = TlsFluentSender("app", host=host, port=port, context=client_context(doors.mint.credentials()))
        for number in range(100):
            assert await asyncio.to_thread(sender.emit, "log", {"message": f"line {number}", "level": "warn"})
        sender.close()
        reader = reader_of(state)

        async def stored() -> None:
            while reader.count_logs() < 100:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(stored(), 10)
        entry = reader.logs(text='"line 42"')[0]
        reader.close()
        assert (entry.tag, entry.workload, entry.severity) == ("app.log", "bookinfo-productpage", "warning")
        assert await asyncio.to_thread(collector.stop) == 0


@pytest.mark.parametrize("signal", ["kill -9", "SIGTERM"])
async def test_5000_requests_are_found_exactly_once_per_hop_though_the_collector_dies(
    doors: Doors, tmp_path: Path, signal: str
) -> None:
    """Two hops, a sender each; the collector is ended twice in the middle and comes back on the same ports."""
    state = tmp_path / "state"
    context = client_context(doors.mint.credentials())
    hops = ("ingress", "productpage-v1")
    total, chunk = 5_000, 20
    progress = dict.fromkeys(hops, 0)
    collector = await asyncio.to_thread(Collector, doors, state)
    host, port = collector.address("forward")

    def send(hop: str) -> None:
        sender = AckingSender(ACCESS_TAG, host=host, port=port, context=context)
        for first in range(0, total, chunk):
            bodies = [access_body(n, id=f"{hop}/e1/{n}", workload=hop) for n in range(first, first + chunk)]
            sender.deliver(base64.b64encode(f"{hop}{first:08}".encode()).decode(), bodies)
            progress[hop] = first + chunk
        sender.close()

    threads = [threading.Thread(target=send, args=(hop,)) for hop in hops]
    for thread in threads:
        thread.start()
    try:
        for threshold in (1_000, 3_000):
            while max(progress.values()) < threshold:
                await asyncio.sleep(0.005)
            acknowledged = dict(progress)
            if signal == "SIGTERM":
                assert await asyncio.to_thread(collector.stop) == 0
            else:
                await asyncio.to_thread(collector.kill)
            reader = reader_of(state)
            for hop, count in acknowledged.items():
                assert reader.count_logs(workload=hop) >= count, "an acknowledged record is gone"
            reader.close()
            collector = await asyncio.to_thread(Collector, doors, state, *collector.same_ports())
        for thread in threads:
            await asyncio.to_thread(thread.join, 60)
        assert progress == dict.fromkeys(hops, total)
        reader = reader_of(state)
        for hop in hops:
            found = reader.logs(workload=hop, limit=10_000)
            assert sorted(entry.id for entry in found) == sorted(f"{hop}/e1/{n}" for n in range(total))
        reader.close()
    finally:
        if collector.process.poll() is None:
            await asyncio.to_thread(collector.stop)
        for thread in threads:
            await asyncio.to_thread(thread.join, 60)


async def test_spans_of_the_sdk_s_exporter_become_a_trace(doors: Doors, tmp_path: Path) -> None:
    state = tmp_path / "state"
    held = doors.mint.credentials()
    with await asyncio.to_thread(Collector, doors, state) as collector:
        exporter = OTLPSpanExporter(
            endpoint=collector.ready["otlp_grpc"],
            credentials=grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem),
            channel_options=(("grpc.ssl_target_name_override", "remora-collector.remora-system.svc"),),
        )
        await asyncio.to_thread(exporter.export, make_spans())
        exporter.shutdown()
        async with httpx.AsyncClient(verify=client_context(held)) as client:
            answer = await client.post(f"https://{collector.ready['otlp_http']}/v1/logs", json={"resourceLogs": []})
        assert answer.status_code == 200
        reader = reader_of(state)
        (summary,) = reader.traces()
        assert (summary.root_service, summary.root_name, summary.spans) == ("productpage", "GET /productpage", 2)
        assert summary.error
        reader.close()
        assert await asyncio.to_thread(collector.stop) == 0


async def test_scraped_metrics_become_the_graph(doors: Doors, tmp_path: Path, eventually: Eventually) -> None:
    state = tmp_path / "state"
    state.mkdir()
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await reader.readuntil(b"\r\n\r\n")
        shown = ",".join(
            f'{key}="{value}"' for key, value in labels("productpage-v1", "reviews-v1") if key != "instance"
        )
        body = f"# TYPE istio_requests_total counter\nistio_requests_total{{{shown}}} {count}\n".encode()
        count += 10
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    (state / "targets.json").write_text(json.dumps([{"targets": [address], "labels": {"workload": "reviews-v1"}}]))
    with await asyncio.to_thread(Collector, doors, state, "--scrape-interval", "0.1") as collector:
        reader = reader_of(state)
        await eventually(lambda: reader.graph(time.time(), 60).edges, "an edge")
        (edge,) = reader.graph(time.time(), 60).edges
        assert (edge.source, edge.destination, edge.mtls) == ("default/productpage-v1", "default/reviews-v1", True)
        reader.close()
        assert await asyncio.to_thread(collector.stop) == 0
    server.close()
    await server.wait_closed()


async def test_health_and_metrics_of_the_collector_itself(doors: Doors, tmp_path: Path) -> None:
    with await asyncio.to_thread(
        Collector, doors, tmp_path / "state", "--plaintext-forward", "127.0.0.1:0"
    ) as collector:
        host, port = collector.address("plaintext_forward")
        sender = AckingSender(ACCESS_TAG, host=host, port=port, context=None)
        await asyncio.to_thread(sender.deliver, "c1", [access_body(n) for n in range(5)])
        sender.close()
        async with httpx.AsyncClient(base_url=f"http://{collector.ready['health']}") as client:
            assert (await client.get("/healthz")).json() == {"ready": True}
            text = (await client.get("/metrics")).text
            assert (await client.get("/nothing")).status_code == 404
            assert (await client.post("/metrics")).status_code == 405
        assert 'remora_collector_stored_records_total{signal="logs"} 5.0' in text
        assert 'remora_collector_received_records_total{receiver="forward",signal="logs"} 5.0' in text
        assert "remora_collector_store_stalled 0.0" in text


async def test_it_stops_when_its_parent_is_gone(doors: Doors, tmp_path: Path) -> None:
    read, write = os.pipe()
    collector = await asyncio.to_thread(
        Collector, doors, tmp_path / "state", "--lifeline-fd", str(read), pass_fds=(read,)
    )
    os.close(read)
    with collector:
        os.close(write)
        assert await asyncio.to_thread(collector.process.wait, 10) == 0


async def test_it_can_be_stopped_while_it_waits_for_the_control_plane(doors: Doors, tmp_path: Path) -> None:
    state = tmp_path / "state"
    await doors.__aexit__()
    waiting = asyncio.ensure_future(asyncio.to_thread(Collector, doors, state, expect_ready=False))
    store = state / "store" / "telemetry.sqlite"
    while not store.exists():
        await asyncio.sleep(0.01)
    process = await asyncio.to_thread(_child_of_this, "collectors.app")
    os.kill(process, 15)
    collector = await waiting
    assert await asyncio.to_thread(collector.process.wait, 10) == 0


def _child_of_this(text: str) -> int:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if text in (entry / "cmdline").read_text() and f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text():
                return int(entry.name)
    raise AssertionError(f"no child {text}")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("port in use", "cannot listen on 127.0.0.1:"),
        ("store in use", "another process writes the store"),
        ("newer store", "use a newer program"),
        ("no token", "No such file or directory"),
        ("token for all", "chmod 0600"),
        ("wrong token", "UNAUTHENTICATED"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_status_1(doors: Doors, tmp_path: Path, mistake: str, said: str) -> None:
    state = tmp_path / "state"
    flags: list[str] = []
    token = doors.directory / "token"
    store = None
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    match mistake:
        case "port in use":
            flags = ["--forward", f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]
        case "store in use":
            store = Store.open(state / "store" / "telemetry.sqlite")
        case "newer store":
            (state / "store").mkdir(parents=True)
            with contextlib.closing(sqlite3.connect(state / "store" / "telemetry.sqlite")) as connection:
                connection.execute("PRAGMA user_version = 99")
        case "no token":
            token.unlink()
        case "token for all":
            token.chmod(0o644)
        case "wrong token":
            token.write_text("another")
    collector = await asyncio.to_thread(Collector, doors, state, *flags, expect_ready=False)
    assert await asyncio.to_thread(collector.process.wait, 10) == 1
    if store is not None:
        store.close()
    server.close()
    await server.wait_closed()
    lines = [line for line in collector.log().splitlines() if line.startswith("remora collect: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in collector.log()


GOOD = ["--state", "s", "--control", "127.0.0.1:1", "--root", "r", "--token-file", "t"]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [*GOOD, "--forward", "nonsense"],
        [*GOOD, "--forward", "127.0.0.1:99999"],
        [*GOOD, "--plaintext-forward", "0.0.0.0:24224"],
        [*GOOD, "--retention-hours", "-1"],
        [*GOOD, "--retention-hours", "nan"],
        [*GOOD, "--max-store-mib", "0"],
        [*GOOD, "--shared-key", "x"],
    ],
)
def test_wrong_flags_are_exit_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("remora collect: ")
    assert said.count("\n") == 1


def test_flags_have_the_documented_defaults() -> None:
    options = parse(GOOD)
    assert (options.forward, options.otlp_grpc, options.otlp_http) == (
        ("127.0.0.1", 24224),
        ("127.0.0.1", 4317),
        ("127.0.0.1", 4318),
    )
    assert options.plaintext_forward is None
    assert parse(GOOD[2:]).state == default_state()
    assert parse([*GOOD, "--forward", "[::1]:5"]).forward == ("::1", 5)


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    assert "remora collect --state" in capsys.readouterr().out


async def test_a_workload_s_certificate_writes_no_access_record_about_another(doors: Doors, tmp_path: Path) -> None:
    """Two certificates of one mesh and one namespace; the control plane's list says whose productpage-v1 is."""
    state = tmp_path / "state"
    state.mkdir()
    owner, other = PRODUCTPAGE, SpiffeId(DOMAIN, "default", "bookinfo-reviews")
    groups = [
        {
            "targets": ["127.0.0.1:1"],
            "labels": {"workload": name, "namespace": "default", "__meta_remora_principal": str(principal)},
        }
        for name, principal in (("productpage-v1", owner), ("reviews-v1", other))
    ]
    (state / "targets.json").write_text(json.dumps(groups))
    with await asyncio.to_thread(Collector, doors, state) as collector:
        host, port = collector.address("forward")

        def deliver(principal: SpiffeId, chunk: str, *bodies: dict[str, Any]) -> None:
            context = client_context(doors.mint.credentials(principal))
            sender = AckingSender(ACCESS_TAG, host=host, port=port, context=context)
            sender.deliver(base64.b64encode(chunk.encode()).decode(), list(bodies))
            sender.close()

        forged = access_body(1, id="forged", workload="productpage-v1", response_code=500)
        claimed = access_body(2, id="claimed", workload="reviews-v1", peer_principal=str(owner))
        await asyncio.to_thread(deliver, other, "a", forged, claimed)
        await asyncio.to_thread(deliver, owner, "b", access_body(3, id="true", workload="productpage-v1"))
        reader = reader_of(state)
        found = {entry.id: entry.body["peer_principal"] for entry in reader.logs()}
        reader.close()
        assert found == {"claimed": str(other), "true": str(owner)}
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://{collector.ready['health']}/metrics")).text
        assert 'remora_collector_foreign_records_total{receiver="forward",signal="logs"} 1.0' in metrics
        refusals = [line for line in collector.log().splitlines() if "refused 1 records" in line]
        assert len(refusals) == 1
        assert str(other) in refusals[0]
