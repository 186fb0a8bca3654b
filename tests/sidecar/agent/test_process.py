"""The sidecar as processes: agent and worker, with a real control plane."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from tests.control.app.control_process import ControlProcess
from tests.sidecar.agent.sidecar_process import Application, Sidecar, bound, where
from tests.sidecar.net.authority import Authority

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlProcess]:
    process = ControlProcess(tmp_path / "state")
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    application = Application()
    yield application
    application.release.set()
    await application.stop()


@pytest.fixture
async def idle(control: ControlProcess, application: Application, tmp_path: Path) -> AsyncIterator[Sidecar]:
    """A sidecar that is not started."""
    sidecar = Sidecar(control, tmp_path, await application.start())
    yield sidecar
    await sidecar.close()


@pytest.fixture
async def sidecar(idle: Sidecar) -> Sidecar:
    """One that serves."""
    await idle.start()
    await idle.await_ready()
    return idle


async def test_a_request_goes_out_and_comes_in_by_mutual_tls(sidecar: Sidecar, eventually: Eventually) -> None:
    assert await sidecar.get("/hello") == (200, "/hello")
    assert await sidecar.admin("/ready") == (200, "LIVE\n")

    async def counted() -> bool:
        _, text = await sidecar.admin("/stats/prometheus")
        lines = [line for line in text.splitlines() if line.startswith("istio_requests_total{")]
        return any('reporter="destination"' in x and 'policy="mutual_tls"' in x for x in lines)

    await eventually(counted, "the receiving side counts it as mutual TLS")


async def test_what_is_shown_has_no_key(sidecar: Sidecar) -> None:
    status, text = await sidecar.admin("/config_dump")
    assert status == 200
    assert "PRIVATE KEY" not in text
    assert "[redacted]" in text
    kinds = {each["@type"].rpartition(".")[2] for each in json.loads(text)["configs"]}
    assert kinds == {
        "ClustersConfigDump",
        "EndpointsConfigDump",
        "ListenersConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    }
    _, listeners = await sidecar.admin("/listeners")
    assert set(listeners.split()) == {
        f"virtualInbound::{where(sidecar.sockets['inbound'])}",
        f"virtualOutbound::{where(sidecar.sockets['outbound'])}",
    }
    _, clusters = await sidecar.admin("/clusters")
    assert "outbound|9080||reviews.default.svc.cluster.local::" in clusters


async def test_a_killed_worker_is_replaced_and_no_connection_is_refused(
    sidecar: Sidecar, eventually: Eventually
) -> None:
    (victim,) = sidecar.workers()
    outcomes: list[object] = []
    replaced = asyncio.Event()

    async def load() -> None:
        while not replaced.is_set():
            try:
                outcomes.append((await sidecar.get("/x"))[0])
            except ConnectionRefusedError as error:
                outcomes.append(error)
            except ConnectionError:
                pass  # it was being served by the worker that was killed
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        await eventually(lambda: len(outcomes) >= 5, "there is traffic")
        victim.kill()
        killed_at, before = time.monotonic(), len(outcomes)
        await eventually(lambda: len(outcomes) > before + 5, "there is traffic again")
        took_s = time.monotonic() - killed_at
        replaced.set()
    assert set(outcomes) == {200}
    assert [worker.pid for worker in sidecar.workers()] != [victim.pid]
    assert took_s < 3, "on a machine of its own it is a third of a second"


async def test_requests_in_flight_finish_when_told_to_stop(
    sidecar: Sidecar, application: Application, eventually: Eventually
) -> None:
    assert sidecar.process is not None
    async with asyncio.TaskGroup() as group:
        request = group.create_task(sidecar.get("/slow"))
        await eventually(lambda: application.waiting == 1, "it is in flight")
        sidecar.process.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return (await sidecar.admin("/ready")) == (503, "DRAINING\n")

        await eventually(draining, "readiness is off")
        assert not request.done()
        application.release.set()
    assert request.result() == (200, "/slow")
    assert await sidecar.stop() == 0
    assert "cut off" not in sidecar.log.read_text()


async def test_the_deadline_ends_what_does_not_end(
    idle: Sidecar, application: Application, eventually: Eventually
) -> None:
    await idle.start("--drain-deadline", "0.3")
    await idle.await_ready()
    request = asyncio.get_running_loop().create_task(idle.get("/slow"))
    await eventually(lambda: application.waiting == 1, "it is in flight")
    began = time.monotonic()
    assert await idle.stop() == 0
    assert time.monotonic() - began < 5
    with contextlib.suppress(ConnectionError):
        assert (await request)[0] == 503
    assert "cut off at the deadline" in idle.log.read_text()


async def test_traffic_goes_on_without_the_control_plane_and_it_is_found_again(
    sidecar: Sidecar, control: ControlProcess, eventually: Eventually
) -> None:
    await control.stop(signal.SIGKILL)
    for _ in range(20):
        assert await sidecar.get("/x") == (200, "/x")
    await control.start()

    async def synced() -> bool:
        async with control.rest() as rest:
            status = (await rest.get("/v1/status")).json()
        proxies = [proxy for proxy in status["proxies"] if proxy["workload"] == "reviews-v1"]
        return bool(proxies) and proxies[0]["state"] == "synced" and proxies[0]["version"] == status["version"]

    await eventually(synced, "it is in step again", within=15)
    assert await sidecar.get("/x") == (200, "/x")


async def test_the_worker_ends_with_its_agent(sidecar: Sidecar, eventually: Eventually) -> None:
    assert sidecar.process is not None
    (worker,) = sidecar.workers()
    sidecar.process.kill()
    await eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker ends")


async def test_a_worker_that_stands_still_is_replaced_within_ten_seconds_and_requests_go_on(
    sidecar: Sidecar, eventually: Eventually
) -> None:
    (worker,) = sidecar.workers()
    worker.suspend()
    began = time.monotonic()
    await eventually(lambda: not worker.is_running(), "the worker that hangs is killed", within=12)
    assert time.monotonic() - began < 10.5
    # Connections waited in the listening socket, which the agent holds.
    assert await sidecar.get("/after") == (200, "/after")
    _, text = await sidecar.admin("/stats/prometheus")
    assert "remora_agent_worker_hangs_total 1.0" in text


async def test_it_stops_when_its_parent_is_gone(sidecar: Sidecar) -> None:
    assert sidecar.process is not None
    assert sidecar.lifeline is not None
    os.close(sidecar.lifeline)
    sidecar.lifeline = None
    assert await asyncio.wait_for(sidecar.process.wait(), 10) == 0


async def test_a_post_stops_it_as_well(sidecar: Sidecar) -> None:
    assert sidecar.process is not None
    port = int(sidecar.info["admin"].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert await asyncio.wait_for(sidecar.process.wait(), 10) == 0
    writer.close()


async def test_two_workers_share_the_work(idle: Sidecar) -> None:
    await idle.start("--concurrency", "2")
    await idle.await_ready()
    assert len(idle.workers()) == 2
    assert await idle.get("/x") == (200, "/x")


async def test_a_listener_whose_port_is_taken_is_rejected_with_its_path(
    idle: Sidecar, control: ControlProcess, eventually: Eventually
) -> None:
    with bound() as taken:
        taken.listen()
        idle.sockets["inbound"].close()
        idle.sockets["inbound"] = taken
        await idle.start(hand_over=("outbound",))

        async def rejected() -> bool:
            async with control.rest() as rest:
                status = (await rest.get("/v1/status")).json()
            rejections = [each for proxy in status["proxies"] for each in proxy["rejections"]]
            return any(
                each["type"] == "LDS" and "virtualInbound: address" in each["path"] and "in use" in each["message"]
                for each in rejections
            )

        await eventually(rejected, "the status says which listener and why")


@pytest.mark.parametrize("spoilt", ["admin", "metrics", "listen"])
async def test_a_port_in_use_is_one_line_and_exit_status_1(spoilt: str, idle: Sidecar) -> None:
    arguments, _ = await idle.arguments(())
    with bound() as taken:
        taken.listen()
        places = {"admin": "127.0.0.1:0", "metrics": "127.0.0.1:0", "listen": "127.0.0.1:0"} | {spoilt: where(taken)}
        flags = [flag for name, place in places.items() for flag in (f"--{name}", place)]
        process = await asyncio.create_subprocess_exec(*arguments, *flags, stderr=asyncio.subprocess.PIPE)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert errors.decode() == f"remora proxy: cannot listen on {places[spoilt]}: Address already in use\n"


async def test_a_missing_root_is_one_line_and_exit_status_1(idle: Sidecar, tmp_path: Path) -> None:
    arguments, fds = await idle.arguments(("outbound",))
    (tmp_path / "root.pem").unlink()
    process = await asyncio.create_subprocess_exec(*arguments, pass_fds=fds, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert errors.decode().count("\n") == 1
    assert "No such file" in errors.decode()


async def test_a_root_file_that_is_replaced_is_believed(
    sidecar: Sidecar, tmp_path: Path, eventually: Eventually
) -> None:
    root = tmp_path / "root.pem"
    other = tmp_path / "other.pem"
    other.write_text(Authority().pem + root.read_text())
    os.replace(other, root)
    await eventually(lambda: "root.pem has other trust anchors" in sidecar.log.read_text(), "it is seen", within=10)
    assert await sidecar.get("/x") == (200, "/x")
