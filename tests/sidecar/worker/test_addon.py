"""Addon scripts on requests through a whole worker: what they change, and what they can not break."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.addon import Addon
from sidecar.config.messages import Applied, Metrics
from sidecar.config.snapshot import Node
from sidecar.net.addon_channel import socket_path
from tests.sidecar.addons import scripts
from tests.sidecar.addons.host import running
from tests.sidecar.worker.peers import Client, Connection, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]


class Mesh:
    """A proxy with one listener, whose requests meet a script."""

    def __init__(self, proxy: Proxy, origin: Origin, client: Client, directory: Path) -> None:
        self.proxy = proxy
        self.origin = origin
        self.client = client
        self.directory = directory
        self.address = proxy.bind()

    async def serve(self, **rule: Any) -> Connection:
        addon = Addon("default/rule", "addon.py", **({"timeout_s": 5.0} | rule))
        listener = plain_listener("in", self.address, everything(forward_to("up")), addons=(addon,))
        answer = await self.proxy.apply(
            node=Node(id="sidecar~test", addon_sockets=str(self.directory)),
            clusters=(cluster("up", self.origin.address),),
            listeners=(listener,),
        )
        assert isinstance(answer, Applied), answer
        return await self.client.connect(self.address)

    @asynccontextmanager
    async def script(self, text: str) -> AsyncIterator[None]:
        """The process of the script, where the agent would have it listen."""
        script = self.directory / "addon.py"
        script.write_text(text)
        async with running(script, self.directory, Path(socket_path(str(self.directory), "addon.py"))):
            yield

    def counted(self) -> dict[str, int]:
        """Of the rule."""
        self.proxy.worker.flush()
        found: dict[str, int] = {}
        for message in self.proxy.messages:
            if isinstance(message, Metrics):
                for growth in message.counters:
                    name = re.fullmatch("remora_addon_(.*)_total", growth.name)
                    if name:
                        assert growth.labels == (("addon", "default/rule"),)
                        found[name[1]] = found.get(name[1], 0) + growth.value
        return found


@pytest.fixture
def mesh(proxy: Proxy, origin: Origin, client: Client, tmp_path: Path) -> Mesh:
    return Mesh(proxy, origin, client, tmp_path)


async def test_request_and_answer_are_rewritten_and_framed_anew(mesh: Mesh) -> None:
    mesh.origin.handler = answering(200, b"fine", "Content-Type: text/plain", "X-Kept: 1")
    connection = await mesh.serve()
    async with mesh.script(scripts.REWRITE):
        answer = await connection.ask(
            b"POST /old/a?x=1 HTTP/1.1\r\nHost: a.example\r\nX-Removed: 1\r\nX-Request-Id: r\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n2\r\nds\r\n0\r\n\r\n"
        )
        again = await connection.get("/old/b")

    first, second = mesh.origin.requests
    assert first.start == b"POST /new/a?x=1 HTTP/1.1"
    assert (first.body, first.get(b"content-length"), first.get(b"transfer-encoding")) == (b"WORDS", b"5", None)
    assert (first.get(b"x-added"), first.get(b"x-removed")) == (b"by the addon", None)
    assert (first.get(b"host"), first.get(b"x-request-id")) == (b"a.example", b"r")
    assert second.start == b"GET /new/b HTTP/1.1"
    assert (answer.status, answer.body) == (200, b"fine and more")
    assert (answer.get(b"content-length"), answer.get(b"x-answered"), answer.get(b"x-kept")) == (
        b"13",
        b"by the addon",
        b"1",
    )
    assert again.body == b"fine and more"
    assert mesh.counted() == {"requests": 2}


async def test_an_answer_of_the_scripts_own_never_reaches_an_upstream(mesh: Mesh) -> None:
    connection = await mesh.serve()
    async with mesh.script(scripts.MOCK):
        answer = await connection.get("/mocked")
        assert (answer.status, answer.body, answer.get(b"content-type")) == (418, b"mocked", b"text/plain")
        assert (await connection.get("/other")).status == 200
    assert [request.target for request in mesh.origin.requests] == [b"/other"]
    assert mesh.proxy.records[0].details == "addon_response{default/rule}"
    assert mesh.counted() == {"requests": 2, "answered": 1}


@pytest.mark.parametrize(
    ("rule", "target", "met"),
    [
        ({"path": "/shop"}, "/shop/1", True),
        ({"path": "/shop"}, "/other", False),
        ({"methods": ("POST",)}, "/", False),
        ({"hosts": ("*.example",)}, "/", True),
        ({"hosts": ("b.example", "c.*")}, "/", False),
        ({"headers": (("x-team", "blue"),)}, "/", False),
        ({"routes": ("default",)}, "/", True),
        ({"routes": ("another",)}, "/", False),
        ({"sample_percent": 0.0}, "/", False),
    ],
)
async def test_only_selected_requests_meet_it(mesh: Mesh, rule: dict[str, Any], target: str, met: bool) -> None:
    """There is no process, so a request that meets the script fails."""
    connection = await mesh.serve(**rule)
    assert (await connection.get(target)).status == (500 if met else 200)


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize(
    ("script", "target", "rule"),
    [
        (scripts.CRASH, "/raise", {}),
        (scripts.CRASH, "/later", {}),
        (scripts.CRASH, "/die", {}),
        (scripts.SLOW, "/async", {"timeout_s": 0.2}),
        (scripts.SLOW, "/block", {"timeout_s": 0.2}),
        (scripts.KILL, "/", {}),
        ("no script", "/", {}),
        ("def request(flow): flow.request.headers['x'] = 'a\\r\\nb: c'", "/", {}),
        ("def request(flow): flow.request.path = 'x y'", "/", {}),
        ("def request(flow): flow.request.method = 'GE T'", "/", {}),
        ("def request(flow): flow.request.headers['host'] = 'a b'", "/", {}),
        ("def response(flow): flow.response.status_code = 42", "/", {}),
        ("def response(flow): flow.response.headers['x'] = 'a\\x00'", "/", {}),
    ],
    ids=[
        "an exception with the request", "an exception with the answer", "the process dies", "too slow",
        "the process is blocked", "the request is killed", "it can not be loaded", "line feeds in a header",
        "a space in the path", "a space in the method", "a space in the host", "a status that is none",
        "NUL in an answer's header",
    ],
)  # fmt: skip
async def test_a_broken_script_does_what_its_rule_says_and_no_more(
    mesh: Mesh, script: str, target: str, rule: dict[str, Any], fail_open: bool
) -> None:
    connection = await mesh.serve(fail_open=fail_open, **rule)
    async with mesh.script(script):
        answer = await connection.ask(
            f"POST {target} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody".encode()
        )
    if fail_open:
        assert (answer.status, answer.body) == (200, b"ok")
        assert mesh.origin.requests[0].body == b"body"
        assert mesh.origin.requests[0].get(b"x") is None
    else:
        assert (answer.status, answer.body) == (500, b"addon failed")
        assert mesh.proxy.records[0].details == "addon_error{default/rule}"
    assert mesh.counted() == {"requests": 1, "failures": 1}
    (record,) = mesh.proxy.records
    assert record.status == answer.status
    endpoint = mesh.proxy.worker.cluster("up")
    assert (endpoint.counts.rq_active, len(mesh.proxy.messages) > 0) == (0, True)


async def test_without_a_process_the_rule_says_what_happens(mesh: Mesh) -> None:
    connection = await mesh.serve(fail_open=True)
    assert (await connection.get()).status == 200
    connection = await mesh.serve(fail_open=False)
    assert (await connection.get()).status == 500


async def test_long_bodies_pass_by_unseen_and_unchanged(mesh: Mesh) -> None:
    mesh.origin.handler = answering(200, b"y" * 5000)
    connection = await mesh.serve(max_body_bytes=1000)
    script = """
def request(flow):
    assert flow.request.raw_content is None
    flow.request.headers["x-added"] = "1"
    flow.request.text = "ignored"
def response(flow):
    assert flow.response.raw_content is None
    flow.response.headers["x-answered"] = "1"
"""
    async with mesh.script(script):
        await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n" + b"x" * 2000)
        await connection.send(b"x" * 2000)
        answer = await connection.answer()
    (request,) = mesh.origin.requests
    assert (request.body, request.get(b"x-added")) == (b"x" * 4000, b"1")
    assert (answer.body, answer.get(b"x-answered")) == (b"y" * 5000, b"1")
    assert mesh.counted() == {"requests": 1}


async def test_a_chunked_answer_of_unknown_length_is_gathered_or_let_go(mesh: Mesh) -> None:
    async def chunked(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        size = int(incoming.request.target[1:])
        for _ in range(size // 100):
            await incoming.raw(b"64\r\n" + b"z" * 100 + b"\r\n")
        await incoming.raw(b"0\r\n\r\n")

    mesh.origin.handler = chunked
    connection = await mesh.serve(max_body_bytes=1000)
    script = "def response(flow): flow.response.headers['seen'] = str(flow.response.raw_content is not None)"
    async with mesh.script(script):
        small, large = await connection.get("/500"), await connection.get("/500000")
    assert (small.body, small.get(b"seen")) == (b"z" * 500, b"True")
    assert (large.body, large.get(b"seen")) == (b"z" * 500_000, b"False")


async def test_server_sent_events_are_not_waited_for(mesh: Mesh) -> None:
    more = asyncio.Event()

    async def events(incoming: Incoming) -> None:
        await incoming.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        )
        await more.wait()
        await incoming.raw(b"3\r\ntwo\r\n0\r\n\r\n")

    mesh.origin.handler = events
    connection = await mesh.serve()
    async with mesh.script("def response(flow): flow.response.headers['x-seen'] = '1'"):
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await asyncio.wait_for(connection.reader.readuntil(b"one\r\n"), 5)
        assert b"x-seen: 1\r\n" in head
        more.set()
        assert (await asyncio.wait_for(connection.reader.readuntil(b"0\r\n\r\n"), 5)).startswith(b"3\r\ntwo")


async def test_head_and_answers_without_a_body_keep_their_framing(mesh: Mesh) -> None:
    async def bodiless(incoming: Incoming) -> None:
        if incoming.request.start.startswith(b"HEAD"):
            await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1234567\r\n\r\n")
        else:
            await incoming.raw(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")

    mesh.origin.handler = bodiless
    connection = await mesh.serve()
    async with mesh.script("def response(flow): flow.response.headers['x-seen'] = '1'"):
        await connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await connection.answer(body=False)
        assert (answer.status, answer.get(b"content-length"), answer.get(b"x-seen")) == (200, b"1234567", b"1")
        answer = await connection.get()
        assert (answer.status, answer.get(b"etag"), answer.get(b"x-seen")) == (304, b"x", b"1")


async def test_a_client_that_leaves_while_the_script_thinks_leaves_nothing_behind(
    mesh: Mesh, eventually: Eventually
) -> None:
    connection = await mesh.serve()
    async with mesh.script(scripts.SLOW):
        await connection.send(b"GET /async HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: mesh.counted().get("requests"), "it meets the script")
        await connection.close()
        await eventually(lambda: mesh.proxy.records, "it is recorded")
        (record,) = mesh.proxy.records
        assert record.flags == "DC"
        again = await mesh.client.connect(mesh.address)
        assert (await again.get()).status == 200
    assert [request.target for request in mesh.origin.requests] == [b"/"]


async def test_upstreams_failures_are_what_they_are_without_a_script(mesh: Mesh) -> None:
    async def cut(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        incoming.close()

    mesh.origin.handler = cut
    connection = await mesh.serve()
    async with mesh.script(scripts.REWRITE):
        answer = await connection.get()
    # Nothing of the answer had left yet, so the client gets a whole one that says what happened.
    assert answer.status == 502
    assert mesh.proxy.records[0].flags == "UC"


async def test_rules_change_without_ending_a_connection(mesh: Mesh) -> None:
    connection = await mesh.serve(path="/nothing")
    assert (await connection.get()).status == 200
    await mesh.serve()
    assert (await connection.get()).status == 500
    await mesh.serve(fail_open=True)
    assert (await connection.get()).status == 200
