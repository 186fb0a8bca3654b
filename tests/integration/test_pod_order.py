"""From a pod's first container to its last byte: the application never starts before its sidecar serves, never loses
the network before it has ended, and a Job ends with its own exit code."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.integration.kubelet import PodRun, exchange, get
from tests.integration.pod_mesh import ADDRESSES, APP_UID, PodMesh, pod_mesh
from tests.netns.namespaces import lacking

Eventually = Callable[..., Awaitable[None]]

QUIET_S = 3.0
"""sidecar.agent.lifecycle: so long after the application's last socket a classic sidecar stays."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[PodMesh]:
    if reason := lacking():
        pytest.skip(reason)
    with pod_mesh() as made:
        yield made


async def of_mesh(mesh: PodMesh, service: str, path: str) -> tuple[int, str]:
    """A request of another workload, through both sidecars."""
    return await get(mesh.first, ADDRESSES[service], 80, path, uid=APP_UID)


def started_after_its_sidecar_was_ready(run: PodRun) -> None:
    app = run.running["app"]
    assert app.event_at("started") > run.ready_at["remora-proxy"]
    (first,) = [each for each in app.events("called") if each["when"] == "start"]
    assert first["status"] == 200, f"its first request of all: {first}"


def lost_nothing_before_it_ended(run: PodRun, calls: int) -> None:
    app, proxy = run.running["app"], run.running["remora-proxy"]
    last = [each for each in app.events("called") if each["when"] == "end"]
    assert [each["status"] for each in last] == [200] * calls, f"{last}\n{proxy.log.read_text()[-3000:]}"
    assert app.ended_at is not None
    assert proxy.ended_at is not None
    assert proxy.ended_at > app.ended_at
    assert not app.killed
    assert not proxy.killed
    assert proxy.process.returncode == 0
    # Each of them was a request of its own, the last one long after SIGTERM.
    assert last[-1]["at"] - app.event_at("ending") > 1.0


@pytest.mark.parametrize("form", ["classic", "native"])
async def test_an_application_has_the_network_from_its_first_request_to_its_last(
    form: str, mesh: PodMesh, eventually: Eventually
) -> None:
    async with mesh.pod(f"web-{form}") as pod:
        run, proxy = pod.run, pod.proxy(form, 20)
        app = pod.app(pre_stop=True, calls_at_end=3, every_s=1.1 if form == "classic" else 0.5)
        native, classic = ([proxy], []) if form == "native" else ([], [proxy])
        await run.start([pod.init()], [*classic, app], native)
        await eventually(lambda: run.running["app"].events("serving"), "the application serves", within=10)
        started_after_its_sidecar_was_ready(run)

        # The kubelet's probes, by way of the sidecar.
        assert await run.probe(15020, "/app-health/app/livez") == (200, "")
        assert (await run.probe(15020, "/app-health/app/readyz"))[0] == 200
        assert (await run.probe(15020, "/app-health/app/startupz"))[0] == 404

        async def reachable() -> bool:
            return await of_mesh(mesh, "web", "/hello") == (200, "/hello test 127.0.0.6")

        await eventually(reachable, "other workloads reach it", within=10)
        under_way = asyncio.ensure_future(of_mesh(mesh, "web", "/slow?2"))
        await eventually(lambda: run.running["app"].events("slow began"), "a request is under way")
        began = time.monotonic()
        await run.stop(grace_s=20)
        assert await under_way == (200, "/slow test 127.0.0.6")
        assert run.running["app"].events("prestop"), "the hook came by way of the sidecar"
        lost_nothing_before_it_ended(run, 3)
        app_took_s = run.running["app"].ended_at - began
        proxy_took_s = run.running["remora-proxy"].ended_at - began
        # It does not sit the grace period out.
        assert proxy_took_s - app_took_s < (QUIET_S + 3 if form == "classic" else 3)
        held_s = run.ready_at["remora-proxy"] - run.running["remora-proxy"].started_at
        print(f"{form}: application held for {held_s:.1f} s at the start; it ended {app_took_s:.1f} s, its sidecar")
        print(f"{proxy_took_s:.1f} s after the order to end")


async def test_inbound_winds_down_while_outbound_goes_on(mesh: PodMesh, eventually: Eventually) -> None:
    async with mesh.pod("web-wind") as pod:
        run = pod.run
        await run.start([pod.init()], [pod.proxy("classic", 20), pod.app()])
        proxy = run.running["remora-proxy"]
        await eventually(lambda: run.running["app"].events("serving"), "the application serves", within=10)
        proxy.process.terminate()  # the kubelet's order of containers is none: the application may hear of it later

        async def winds_down() -> bool:
            return (await run.probe(15021, "/healthz/ready")) == (503, "DRAINING\n")

        await eventually(winds_down, "it is not ready any more")
        status, fields, _ = await exchange(pod.pod, ADDRESSES["ledger"], 80, "/entry", uid=APP_UID)
        assert (status, fields.get("connection")) == (200, None), "outbound connections are not told to end"
        direct = await run.probe(15020, "/app-health/app/livez")
        assert direct == (200, "")
        await run.stop(grace_s=20)
        assert proxy.process.returncode == 0


@pytest.mark.parametrize("status", [0, 3])
async def test_a_job_ends_with_its_own_exit_code(status: int, mesh: PodMesh, eventually: Eventually) -> None:
    async with mesh.pod(f"job-{status}") as pod:
        run = pod.run
        await run.start(
            [pod.init()],
            [pod.proxy("classic", 20, REMORA_POD_KIND="job"), pod.app(run_s=0.1, exit=status, calls_at_end=1)],
        )
        app, proxy = run.running["app"], run.running["remora-proxy"]
        assert await app.wait() == status
        assert proxy.process.poll() is None, "nobody has told it yet"
        began = time.monotonic()
        pod.finish()
        assert await asyncio.wait_for(proxy.wait(), 10) == 0
        assert [each["status"] for each in app.events("called")] == [200, 200]
        assert "stopping: the application has ended" in proxy.log.read_text()
        # The pod's phase is what its containers' statuses make it: the worst of them.
        assert max(each.process.returncode for each in run.running.values()) == status
        print(f"job {status}: the sidecar ended {time.monotonic() - began:.2f} s after the control plane knew")


async def test_an_application_ends_its_sidecar_from_within_the_pod_alone(mesh: PodMesh) -> None:
    async with mesh.pod("job-quits") as pod:
        run = pod.run
        await run.start([pod.init()], [pod.proxy("classic", 20)])
        # Nobody serves: the sidecar does not take itself for the application.
        assert (await run.probe(15020, "/app-health/app/readyz"))[0] == 503
        assert (await run.probe(15020, "/app-health/app/livez"))[0] == 503
        asked = b"POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        assert b" 403 " in await said(mesh.network.hub, pod.pod.ipv4, asked)
        assert run.running["remora-proxy"].process.poll() is None
        assert b" 200 " in await said(pod.pod, "127.0.0.1", asked)
        assert await asyncio.wait_for(run.running["remora-proxy"].wait(), 10) == 0


async def said(there: object, host: str, data: bytes) -> bytes:
    """The first line of the answer on 15020."""
    client = there.new_socket(2)  # type: ignore[attr-defined]
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (host, 15020))
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(data)
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return line


async def test_an_application_that_never_ends_has_the_network_until_it_is_killed(
    mesh: PodMesh, eventually: Eventually
) -> None:
    async with mesh.pod("web-deaf") as pod:
        run = pod.run
        await run.start([pod.init()], [pod.proxy("classic", 5), pod.app(deaf=True, run_s=0.2)])
        app, proxy = run.running["app"], run.running["remora-proxy"]
        await eventually(lambda: app.events("serving"), "the application serves", within=10)
        began = time.monotonic()
        await run.stop(grace_s=5)
        assert app.killed
        assert app.process.returncode == -9
        assert not proxy.killed, "it leaves in good order just before"
        assert proxy.process.returncode == 0
        calls = [(each["at"] - began, each["status"]) for each in app.events("called") if each["when"] == "deaf"]
        assert {status for at, status in calls if at < 2.9} == {200}
        assert max(at for at, status in calls if status == 200) > 2.0
        assert "grace period of 5 s is nearly over" in proxy.log.read_text()
