"""The control plane as a process: from registration to a rule that a proxy runs, killed, restarted, stopped."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.route.v3 import route_pb2

from control.xds.messages import CDS, RDS, SDS
from mesh.lifecycle import TaskScope
from tests.control.app.control_process import ControlProcess, create_certificate, workload
from tests.control.ca.requests import ec_key
from tests.control.xds.xds_client import XdsClient

Eventually = Callable[..., Awaitable[None]]

TO_V2 = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}}]
    timeout: %ss
"""


async def register(control: ControlProcess, *names: str) -> dict[str, dict[str, Any]]:
    async with control.rest() as rest:
        answers = {}
        for number, name in enumerate(names):
            answer = await rest.post("/v1/workloads", json=workload(name, number))
            assert answer.status_code == 201, answer.text
            answers[name] = answer.json()
        return answers


async def apply(control: ControlProcess, text: str) -> dict[str, Any]:
    async with control.rest() as rest:
        answer = await rest.post("/v1/apply", json={"files": [{"name": "rule.yaml", "text": text}], "dry_run": False})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


async def status(control: ControlProcess) -> dict[str, Any]:
    async with control.rest() as rest:
        body: dict[str, Any] = (await rest.get("/v1/status")).json()
        return body


async def is_synced(control: ControlProcess) -> bool:
    now = await status(control)
    return all(p["state"] == "synced" and p["version"] == now["version"] for p in now["proxies"])


async def test_a_workload_gets_a_certificate_configuration_and_a_changed_rule_within_a_second(
    control: ControlProcess, eventually: Eventually
) -> None:
    registered = await register(control, "reviews-v1", "productpage-v1")
    node = registered["reviews-v1"]
    credentials = await control.first_certificate(node["token"])
    async with control.channel("ads", credentials) as channel, TaskScope() as scope:
        client = XdsClient(channel, node["node_id"])
        scope.spawn(client.run(), name="client")
        await eventually(lambda: {CDS, RDS, SDS} <= client.received.keys(), "the first configuration arrives")

        async def reviews_synced() -> bool:
            proxies = (await status(control))["proxies"]
            return bool({p["workload"]: p["state"] for p in proxies} == {
                "reviews-v1": "synced", "productpage-v1": "disconnected",
            })  # fmt: skip

        await eventually(reviews_synced, "status shows it synced")
        assert {listener.name for listener in client.listeners()} == {"virtualInbound", "virtualOutbound"}
        slowest = 0.0
        for seconds in range(1, 6):
            version = (await apply(control, TO_V2 % seconds))["version"]
            began = time.monotonic()

            async def live(version: str = version) -> bool:
                now = await status(control)
                [mine] = [p for p in now["proxies"] if p["workload"] == "reviews-v1"]
                return bool(now["version"] == version == mine["version"] and mine["state"] == "synced")

            await eventually(live, "the rule is live", within=1.0)
            slowest = max(slowest, time.monotonic() - began)
            timeouts = {
                route.route.timeout.ToSeconds()
                for configuration in client.unpacked(RDS, route_pb2.RouteConfiguration)
                for host in configuration.virtual_hosts
                for route in host.routes
            }
            assert seconds in timeouts
        assert slowest < 1.0


async def test_a_refused_configuration_shows_with_its_path_and_the_next_good_one_is_taken(
    control: ControlProcess, eventually: Eventually
) -> None:
    node = (await register(control, "reviews-v1"))["reviews-v1"]
    credentials = await control.first_certificate(node["token"])
    async with control.channel("ads", credentials) as channel, TaskScope() as scope:
        client = XdsClient(channel, node["node_id"])
        scope.spawn(client.run(), name="client")
        await eventually(lambda: is_synced(control), "synced")
        good = client.versions[RDS]
        client.refuse[RDS] = "RDS outbound: virtual_hosts[0].routes[0].route.timeout: is not supported"
        await apply(control, TO_V2 % 1)

        async def rejected() -> bool:
            return bool((await status(control))["proxies"][0]["state"] == "rejected")

        await eventually(rejected, "the refusal shows")
        [proxy] = (await status(control))["proxies"]
        [rejection] = proxy["rejections"]
        assert rejection["type"] == "RDS"
        assert rejection["path"] == "outbound: virtual_hosts[0].routes[0].route.timeout"
        assert rejection["message"] == "is not supported"
        assert proxy["types"]["RDS"]["acked"] == good != proxy["types"]["RDS"]["sent"]
        client.refuse.clear()
        await apply(control, TO_V2 % 2)
        await eventually(lambda: is_synced(control), "the next version is taken")
        assert (await status(control))["proxies"][0]["rejections"] == []


async def test_killed_and_back_everything_is_there_and_nothing_is_sent_twice(
    control: ControlProcess, eventually: Eventually
) -> None:
    registered = await register(control, "reviews-v1", "ratings-v1")
    node = registered["reviews-v1"]
    await apply(control, TO_V2 % 3)
    credentials = await control.first_certificate(node["token"])
    async with control.channel("ads", credentials) as channel, TaskScope() as scope:
        client = XdsClient(channel, node["node_id"])
        running = scope.spawn(_ignore_end(client), name="client")
        await eventually(lambda: {CDS, RDS, SDS} <= client.received.keys(), "configured")
        await asyncio.sleep(0)
        await control.stop(signal.SIGKILL)
        await running
    await control.start()
    async with control.rest() as rest:
        rules = (await rest.get("/v1/resources/all")).json()["resources"]
        workloads = (await rest.get("/v1/resources/workloads")).json()["resources"]
    assert [rule["name"] for rule in rules] == ["reviews"]
    assert {each["name"] for each in workloads} == {"reviews-v1", "ratings-v1"}
    async with control.channel("ads", credentials) as channel, TaskScope() as scope:
        again = XdsClient(channel, node["node_id"], client.versions)
        again.names = client.names
        scope.spawn(again.run(), name="client")

        async def synced() -> bool:
            proxies = {p["workload"]: p["state"] for p in (await status(control))["proxies"]}
            return proxies["reviews-v1"] == "synced"

        await eventually(synced, "in sync again")
        assert again.history == []
    # A token that was not used yet, and one whose answer may have been lost.
    assert await control.first_certificate(registered["ratings-v1"]["token"])


async def _ignore_end(client: XdsClient) -> None:
    try:
        await client.run()
    except grpc.aio.AioRpcError:
        pass


async def test_a_certificate_renews_itself_until_its_workload_is_gone(control: ControlProcess) -> None:
    node = (await register(control, "reviews-v1"))["reviews-v1"]
    credentials = await control.first_certificate(node["token"])
    async with control.channel("ads", credentials) as channel:
        renewed = await create_certificate(channel, ec_key(), None)
        assert renewed.chain != credentials.chain
        async with control.rest() as rest:
            assert (await rest.delete("/v1/workloads/default/reviews-v1")).status_code == 204
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create_certificate(channel, ec_key(), None)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "unauthenticated"


async def test_the_stream_of_a_removed_workload_ends(control: ControlProcess, eventually: Eventually) -> None:
    node = (await register(control, "reviews-v1"))["reviews-v1"]
    credentials = await control.first_certificate(node["token"])
    async with control.channel("ads", credentials) as channel, TaskScope() as scope:
        client = XdsClient(channel, node["node_id"])
        running = scope.spawn(client.run(), name="client")
        await eventually(lambda: is_synced(control), "synced")
        async with control.rest() as rest:
            await rest.delete("/v1/workloads/default/reviews-v1")
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(running, 5)
        assert await client.call.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(control: ControlProcess, how: signal.Signals) -> None:
    assert (control.state / "control.json").exists()
    assert (control.state / "control.json").stat().st_mode & 0o777 == 0o600
    began = time.monotonic()
    assert await control.stop(how) == 0
    assert time.monotonic() - began < 3
    assert not (control.state / "control.json").exists()
    assert "Traceback" not in control.log.read_text()


async def test_it_stops_when_its_parent_is_gone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    control = ControlProcess(tmp_path / "state", "--lifeline-fd", str(reading))
    control.inherited = (reading,)
    await control.start()
    os.close(reading)
    os.close(writing)
    assert control.process is not None
    assert await asyncio.wait_for(control.process.wait(), 5) == 0


async def test_no_key_but_the_roots_is_on_disk(control: ControlProcess) -> None:
    await register(control, "reviews-v1")
    found = {
        str(path.relative_to(control.state))
        for path in control.state.rglob("*")
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    }
    assert found == {"ca/root.key"}


async def test_targets_follow_registrations(control: ControlProcess, eventually: Eventually) -> None:
    await register(control, "reviews-v1")
    path = control.state / "targets.json"
    await eventually(lambda: path.exists() and json.loads(path.read_text()), "targets are written")
    assert json.loads(path.read_text()) == [
        {
            "targets": ["127.0.0.1:55000"],
            "labels": {
                "job": "remora-sidecar",
                "workload": "reviews-v1",
                "namespace": "default",
                "app": "reviews",
                "version": "v1",
                "__meta_remora_principal": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
                "__meta_remora_service": "reviews",
            },
        }
    ]


async def test_rules_edited_by_hand_are_taken_over(control: ControlProcess, eventually: Eventually) -> None:
    await register(control, "reviews-v1")
    await apply(control, TO_V2 % 1)
    [path] = (control.state / "rules").rglob("reviews.yaml")
    before = (await status(control))["version"]
    path.write_text(path.read_text().replace("timeout: 1s", "timeout: 7s"))

    async def changed() -> bool:
        return bool((await status(control))["version"] != before)

    await eventually(changed, "a new version")


async def failing(state: Path, *flags: str) -> tuple[int, list[str]]:
    """Exit status and lines of a start that must fail."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "remora", "control", "--state", str(state), *flags, stderr=asyncio.subprocess.PIPE
    )
    _, output = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, output.decode().splitlines()


@pytest.mark.parametrize(("policy", "cluster"), [("ALLOW_ANY", "PassthroughCluster"), ("REGISTRY_ONLY", "BlackHole")])
async def test_where_what_is_for_nobody_goes_is_a_flag(
    tmp_path: Path, policy: str, cluster: str, eventually: Eventually
) -> None:
    control = ControlProcess(tmp_path / "state", "--outbound-traffic-policy", policy)
    await control.start()
    port = {"name": "http", "service_port": 8080, "app": "10.0.0.7:8080"}
    nowhere: dict[str, None] = dict.fromkeys(("inbound", "outbound"))
    body = workload("web-v1", capture=True, addresses=["10.0.0.7"], ports=[port], **nowhere)
    async with control.rest() as rest:
        answer = await rest.post("/v1/workloads", json=body)
        assert answer.status_code == 201, answer.text

        async def told() -> bool:
            return (await rest.get("/v1/config/default/web-v1/listeners")).status_code == 200

        await eventually(told, "it is planned")
        listeners = (await rest.get("/v1/config/default/web-v1/listeners")).json()["resources"]
    (outbound,) = (each for each in listeners if each["name"] == "virtualOutbound")
    assert cluster in json.dumps(outbound)
    assert await control.stop() == 0


ANY_PORTS = ("--ads-port", "0", "--csr-port", "0", "--rest-port", "0")


@pytest.mark.parametrize("flag", ["--ads-port", "--csr-port", "--rest-port"])
async def test_a_port_in_use_is_one_clear_line(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = await failing(tmp_path / "state", *ANY_PORTS, flag, str(port))
    assert code == 1
    assert lines == [f"remora control: cannot listen on 127.0.0.1:{port} ({flag}): Address already in use"]


async def test_a_second_control_plane_on_the_same_state_is_one_clear_line(control: ControlProcess) -> None:
    code, lines = await failing(control.state, *ANY_PORTS)
    assert code == 1
    assert len(lines) == 1
    assert "in use by another control plane" in lines[0]


async def test_a_state_that_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    code, lines = await failing(tmp_path / "state", *ANY_PORTS)
    assert code == 1
    assert len(lines) == 1
    assert str(tmp_path / "state") in lines[0]


async def test_a_corrupt_store_is_one_clear_line_and_nothing_is_published(control: ControlProcess) -> None:
    await register(control, "reviews-v1")
    await apply(control, TO_V2 % 1)
    await control.stop()
    [path] = (control.state / "rules").rglob("reviews.yaml")
    path.write_text("kind: [")
    code, lines = await failing(control.state, *ANY_PORTS)
    assert code == 1
    assert len(lines) == 1
    assert "reviews.yaml" in lines[0]


async def test_a_missing_store_is_not_taken_for_an_empty_one(control: ControlProcess) -> None:
    await register(control, "reviews-v1")
    await apply(control, TO_V2 % 1)
    await control.stop()
    (control.state / "rules").rename(control.state / "gone")
    code, lines = await failing(control.state, *ANY_PORTS)
    assert code == 1
    assert len(lines) == 1
    assert "missing" in lines[0]


async def test_a_root_key_that_others_can_read_is_one_clear_line(control: ControlProcess) -> None:
    await control.stop()
    (control.state / "ca" / "root.key").chmod(0o644)
    code, lines = await failing(control.state, *ANY_PORTS)
    assert code == 1
    assert len(lines) == 1
    assert "chmod 0600" in lines[0]


async def test_wrong_flags_are_exit_status_2() -> None:
    code, _ = await failing(Path("unused"), "--ads-port", "99999")
    assert code == 2
