"""Filters that users write in Python, on real connections: what they may do, and what becomes of their mistakes."""

import asyncio
import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.messages import Applied, Growth, Metrics, Refused
from sidecar.config.python_filter import FilterMatch, PythonFilter
from sidecar.config.route import DirectResponse, Fault, Route, RouteMatch
from sidecar.filters.python_live import OFFENCES
from tests.sidecar.worker.h2_peers import H2Client, get
from tests.sidecar.worker.peers import Client, Connection, Incoming, Origin, answer_ok
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

HEAD = """
import asyncio, json
from sidecar.filters.api import Filter, LocalReply


class Test(Filter):
"""


def python(body: str, **options: Any) -> PythonFilter:
    """A filter whose class has this body."""
    config = json.dumps(options.pop("config", {}))
    text = HEAD + "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return PythonFilter(options.pop("name", "default/test"), text, "Test", config, **options)


class Running:
    """A proxy that serves with filters, its origin and a client of it."""

    def __init__(self, proxy: Proxy, origin: Origin, client: Client) -> None:
        self.proxy = proxy
        self.origin = origin
        self.client = client
        self.address = proxy.bind()

    async def use(self, *filters: PythonFilter, route: Route | None = None) -> Applied | Refused:
        routes = everything(route if route is not None else forward_to("up"))
        listener = plain_listener("in", self.address, routes, filters=filters)
        return await self.proxy.apply(clusters=(cluster("up", self.origin.address),), listeners=(listener,))

    async def connect(self) -> Connection:
        return await self.client.connect(self.address)

    def counted(self, name: str, **labels: str) -> int:
        self.proxy.worker.flush()
        grown: list[Growth] = []
        for message in self.proxy.messages:
            if isinstance(message, Metrics):
                grown += message.counters
        return sum(each.value for each in grown if each.name == name and labels.items() <= dict(each.labels).items())


@pytest.fixture
def running(proxy: Proxy, origin: Origin, client: Client) -> Running:
    return Running(proxy, origin, client)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# what filters may do


async def test_it_changes_headers_on_both_ways(running: Running) -> None:
    await running.use(
        python(
            """
def on_request(self, request):
    request.headers.set("X-Team", self.config["team"])
    request.headers.remove("x-secret")
    assert request.headers.get("X-THING") == "1" and request.headers.get_all("x-thing") == ["1", "2"]
def on_response(self, request, response):
    response.headers.add("x-seen", f"{request.method} {response.status} {response.from_upstream}")
""",
            config={"team": "blue"},
        )
    )
    answer = await (await running.connect()).get("/", "X-Thing: 1", "X-Secret: s", "X-Thing: 2")
    assert answer.status == 200
    assert answer.get(b"x-seen") == b"GET 200 True"
    sent = running.origin.requests[-1]
    assert sent.get(b"x-team") == b"blue"
    assert sent.get(b"x-secret") is None
    assert sent.values(b"x-thing") == [b"1", b"2"]


async def test_it_sees_who_asks_and_where_it_goes(running: Running) -> None:
    await running.use(
        python(
            """
def on_request(self, request):
    seen = [request.method, request.scheme, request.authority, request.host, request.path, request.query, request.peer,
            request.direction, request.route, request.cluster, request.version, len(request.trace_id),
            len(request.request_id) > 10, ":" in request.remote]
    return LocalReply(200, json.dumps(seen), {"content-type": "application/json"}, details="told")
"""
        )
    )
    answer = await (await running.connect()).get("/a/b?c=d", host="shop.example:8080")
    assert json.loads(answer.body) == [
        "GET", "http", "shop.example:8080", "shop.example", "/a/b", "c=d", None, "inbound", "default", "up", "HTTP/1.1",
        32, True, True,
    ]  # fmt: skip
    assert answer.get(b"content-type") == b"application/json"
    assert not running.origin.requests
    assert running.proxy.records[-1].details == "told{default/test}"


async def test_it_changes_the_path_but_not_where_the_route_rewrites_it(running: Running) -> None:
    change = python(
        """
def on_request(self, request):
    request.path = "/other"
    request.query = "x=1"
"""
    )
    await running.use(change)
    await (await running.connect()).get("/a?b=c")
    assert running.origin.requests[-1].target == b"/other?x=1"

    await running.use(change, route=forward_to("up", prefix_rewrite="/new"))
    answer = await (await running.connect()).get("/a?b=c")
    assert answer.status == 503


async def test_it_may_wait_and_then_refuse(running: Running) -> None:
    await running.use(
        python(
            """
async def on_request(self, request):
    await asyncio.sleep(0.005)
    if request.headers.get("authorization") != "Bearer let-me-in":
        return LocalReply(401, "who are you?", {"www-authenticate": "Bearer"})
"""
        )
    )
    connection = await running.connect()
    refused = await connection.get("/")
    assert (refused.status, refused.body) == (401, b"who are you?")
    assert (await connection.get("/", "Authorization: Bearer let-me-in")).status == 200
    assert len(running.origin.requests) == 1


async def test_a_body_that_comes_while_it_waits_is_not_lost(running: Running) -> None:
    async def echo(incoming: Incoming) -> None:
        await incoming.answer(200, await incoming.body())

    running.origin.handler = echo
    await running.use(python("async def on_request(self, request):\n    await asyncio.sleep(0.02)"))
    body = b"x" * 300_000
    connection = await running.connect()
    answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + body)
    assert answer.body == body


async def test_it_reads_and_replaces_bodies(running: Running) -> None:
    async def echo(incoming: Incoming) -> None:
        await incoming.answer(200, await incoming.body())

    running.origin.handler = echo
    await running.use(
        python(
            """
def on_request_body(self, request, body):
    if b"attack" in body:
        return LocalReply(400, "no")
    request.set_body(body.upper())
async def on_response_body(self, request, response, body):
    await asyncio.sleep(0)
    response.set_body(b"<" + body + b">")
"""
        )
    )
    connection = await running.connect()
    answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert (answer.status, answer.body) == (200, b"<HELLO>")
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert (await connection.ask(chunked)).body == b"<ABCDE>"
    assert running.origin.requests[-1].get(b"content-length") == b"5"
    attack = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nattack"
    assert (await connection.ask(attack)).status == 400
    assert (await connection.get("/")).body == b"<>"


@pytest.mark.parametrize(("fail_open", "status"), [(False, 413), (True, 200)])
async def test_a_body_beyond_the_bound_is_the_policys(running: Running, fail_open: bool, status: int) -> None:
    await running.use(
        python(
            "def on_request_body(self, request, body):\n    return LocalReply(418)",
            max_body_bytes=10,
            fail_open=fail_open,
        )
    )
    connection = await running.connect()
    answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n" + b"x" * 11)
    assert answer.status == status
    assert running.counted("remora_filter_failures_total", reason="body_too_large") == 1


@pytest.mark.parametrize(("fail_open", "status"), [(False, 503), (True, 200)])
async def test_an_answer_beyond_the_bound_is_the_policys(running: Running, fail_open: bool, status: int) -> None:
    async def much(incoming: Incoming) -> None:
        await incoming.answer(200, b"y" * 200_000)

    running.origin.handler = much
    hook = 'def on_response_body(self, request, response, body):\n    response.set_body(b"")'
    await running.use(python(hook, max_body_bytes=1000, fail_open=fail_open))
    answer = await (await running.connect()).get("/")
    assert answer.status == status
    assert len(answer.body) == (200_000 if fail_open else 0)


@pytest.mark.parametrize(("fail_open", "status"), [(False, 503), (True, 200)])
@pytest.mark.parametrize(
    "hook",
    [
        "def on_request_body(self, request, body):\n    request.set_body(b'x' * {size})",
        "def on_response_body(self, request, response, body):\n    response.set_body(b'x' * {size})",
        "async def on_response_body(self, request, response, body):\n    response.set_body(b'x' * {size})",
    ],
)
async def test_a_body_of_the_filters_own_has_its_bound(
    running: Running, hook: str, fail_open: bool, status: int
) -> None:
    mebibyte = 1024 * 1024
    await running.use(python(hook.format(size=mebibyte + 1), fail_open=fail_open))
    answer = await (await running.connect()).get("/")
    assert (answer.status, answer.body) == (status, b"ok" if fail_open else b"")
    assert running.counted("remora_filter_failures_total", reason="body_too_large") == 1

    await running.use(python(hook.format(size=mebibyte), fail_open=fail_open))
    assert (await (await running.connect()).get("/")).status == 200
    await running.use(python(hook.format(size=mebibyte + 1), fail_open=fail_open, max_body_bytes=2 * mebibyte))
    assert (await (await running.connect()).get("/")).status == 200
    assert running.counted("remora_filter_failures_total", reason="body_too_large") == 1


async def test_a_client_that_waits_for_100_is_told_to_go_on(running: Running) -> None:
    await running.use(python("def on_request_body(self, request, body):\n    assert body == b'hello'"))
    connection = await running.connect()
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await connection.answer()).status == 100
    await connection.send(b"hello")
    assert (await connection.answer()).status == 200
    assert running.origin.requests[-1].get(b"expect") is None


async def test_what_it_notes_reaches_later_filters_and_the_access_log(running: Running) -> None:
    await running.use(
        python("def on_request(self, request):\n    request.metadata['user'] = 'ann'", name="default/first"),
        python(
            "def on_request(self, request):\n    request.headers.set('x-user', request.metadata['user'])",
            name="default/second",
        ),
    )
    await (await running.connect()).get("/")
    assert running.origin.requests[-1].get(b"x-user") == b"ann"
    assert running.proxy.records[-1].filter_metadata == {"user": "ann"}


async def test_answers_unwind_in_the_other_order(running: Running) -> None:
    hook = "def on_response(self, request, response):\n    response.headers.add('x-order', {!r})"
    wait = "async def on_response(self, request, response):\n    await asyncio.sleep(0)\n"
    wait += "    response.headers.add('x-order', 'b')"
    await running.use(
        python(hook.format("a"), name="default/a"),
        python(wait, name="default/b"),
        python(hook.format("c"), name="default/c"),
    )
    assert (await (await running.connect()).get("/")).values(b"x-order") == [b"c", b"b", b"a"]


async def test_an_answer_is_refused_in_favour_of_the_filters_own(running: Running) -> None:
    for kind in ("def", "async def"):
        await running.use(
            python(f"{kind} on_response(self, request, response):\n    return LocalReply(502, 'hidden')"),
        )
        connection = await running.connect()
        for _ in range(3):
            answer = await connection.get("/")
            assert (answer.status, answer.body) == (502, b"hidden")
        assert running.proxy.records[-1].status == 502


async def test_replies_of_the_proxys_own_are_shown_too(running: Running) -> None:
    hook = "def on_response(self, request, response):\n    response.headers.set('x-local', str(response.from_upstream))"
    await running.use(python(hook), route=Route("direct", RouteMatch(), DirectResponse(204)))
    assert (await (await running.connect()).get("/")).get(b"x-local") == b"False"


@pytest.mark.parametrize(
    ("match", "met"),
    [
        pytest.param(FilterMatch(), True, id="everything"),
        pytest.param(FilterMatch(hosts=("shop.example",)), True, id="its host, with any port"),
        pytest.param(FilterMatch(hosts=("*.example",)), True, id="a wildcard"),
        pytest.param(FilterMatch(hosts=("other.example",)), False, id="another host"),
        pytest.param(FilterMatch(hosts=("*",), path_prefixes=("/a",)), True, id="a prefix"),
        pytest.param(FilterMatch(path_prefixes=("/a/b/",)), True, id="the whole path"),
        pytest.param(FilterMatch(path_prefixes=("/a/bb", "/c")), False, id="other prefixes"),
        pytest.param(FilterMatch(routes=("default",)), True, id="its route"),
        pytest.param(FilterMatch(routes=("other",)), False, id="another route"),
    ],
)
async def test_only_requests_that_its_rule_names_meet_it(running: Running, match: FilterMatch, met: bool) -> None:
    await running.use(python("def on_request(self, request):\n    return LocalReply(418)", match=match))
    answer = await (await running.connect()).get("/a/b?c", host="shop.example:81")
    assert (answer.status == 418) is met


async def test_it_runs_before_or_behind_injected_faults(running: Running) -> None:
    hook = "def on_request(self, request):\n    return LocalReply(418)"
    faulty = replace(forward_to("up"), fault=Fault(abort_status=500, abort_percent=100.0))
    await running.use(python(hook, after_fault=True), route=faulty)
    assert (await (await running.connect()).get("/")).status == 500
    await running.use(python(hook, after_fault=False), route=faulty)
    assert (await (await running.connect()).get("/")).status == 418


# mistakes

MISTAKES = [
    pytest.param("def on_request(self, request):\n    1 / 0", "exception", id="an exception"),
    pytest.param("def on_request(self, request):\n    raise SystemExit(1)", "exception", id="an exit"),
    pytest.param("async def on_request(self, request):\n    raise KeyError('x')", "exception", id="one while waiting"),
    pytest.param("async def on_request(self, request):\n    raise SystemExit(1)", "exception", id="an exit in a task"),
    pytest.param("async def on_request(self, request):\n    await asyncio.sleep(60)", "timeout", id="no end"),
    pytest.param("def on_request(self, request):\n    return 200", "exception", id="no reply"),
    pytest.param(
        "def on_request(self, request):\n    return LocalReply(403, headers={'x-a': 'b\\r\\nc: d'})",
        "exception",
        id="a reply with a split header",
    ),
    pytest.param(
        "def on_request(self, request):\n    request.headers.set('content-length', '5')",
        "exception",
        id="framing",
    ),
    pytest.param(
        "def on_request(self, request):\n    request.headers.set('x-forwarded-client-cert', 'URI=spiffe://me')",
        "exception",
        id="an identity",
    ),
    pytest.param("def on_request(self, request):\n    request.path = '/a b'", "exception", id="a path with a space"),
    pytest.param("def on_response(self, request, response):\n    1 / 0", "exception", id="an exception in the answer"),
    pytest.param(
        "async def on_response(self, request, response):\n    await asyncio.sleep(60)", "timeout", id="no answer"
    ),
    pytest.param("def on_request_body(self, request, body):\n    1 / 0", "exception", id="an exception in the body"),
    pytest.param(
        "async def on_response_body(self, request, response, body):\n    response.set_body('text')",
        "exception",
        id="text for a body",
    ),
]


@pytest.mark.parametrize(("hook", "reason"), MISTAKES)
@pytest.mark.parametrize("fail_open", [False, True], ids=["closed", "open"])
async def test_what_fails_meets_its_policy(running: Running, hook: str, reason: str, fail_open: bool) -> None:
    await running.use(python(hook, fail_open=fail_open, timeout_s=0.05))
    connection = await running.connect()
    for _ in range(2):
        answer = await connection.get("/")
        assert answer.status == (200 if fail_open else 503)
        if not fail_open:
            assert running.proxy.records[-1].details == "python_filter_failed{default/test}"
    assert running.counted("remora_filter_failures_total", reason=reason, filter="default/test") == 2


async def test_what_a_failed_filter_changed_is_undone(running: Running) -> None:
    hook = "def on_request(self, request):\n    request.headers.set('x-half', '1')\n    request.path = '/x'\n    1 / 0"
    await running.use(python(hook, fail_open=True))
    await (await running.connect()).get("/whole")
    assert running.origin.requests[-1].get(b"x-half") is None
    assert running.origin.requests[-1].target == b"/whole"


async def test_a_filter_that_is_too_late_changes_nothing_more(running: Running) -> None:
    hook = """
tried = None
async def on_request(self, request):
    try:
        await asyncio.sleep(60)
    finally:
        try:
            request.headers.set("x-late", "1")
        except RuntimeError as error:
            type(self).tried = str(error)
def on_request_body(self, request, body):
    if self.tried:
        request.headers.set("x-tried", self.tried)
"""
    await running.use(python(hook, fail_open=True, timeout_s=0.02))
    connection = await running.connect()
    assert (await connection.get("/")).status == 200
    assert (await connection.get("/")).status == 200
    assert running.origin.requests[-1].get(b"x-late") is None
    assert b"gone on" in (running.origin.requests[-1].get(b"x-tried") or b"")


async def test_a_filter_that_refuses_to_be_cancelled_holds_up_nobody(running: Running) -> None:
    hook = """
async def on_request(self, request):
    for _ in range(5):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            pass
"""
    await running.use(python(hook, timeout_s=0.02))
    began = asyncio.get_running_loop().time()
    assert (await (await running.connect()).get("/")).status == 503
    assert asyncio.get_running_loop().time() - began < 0.3


async def test_one_that_blocks_again_and_again_is_switched_off(running: Running) -> None:
    """Without the alarm, which is the process's: calls are measured."""
    hook = "def on_request(self, request):\n    import time\n    time.sleep(0.012)"
    await running.use(python(hook, timeout_s=0.01))
    connection = await running.connect()
    statuses = [(await connection.get("/")).status for _ in range(OFFENCES + 2)]
    assert statuses == [200] * OFFENCES + [503, 503]
    assert running.counted("remora_filter_failures_total", reason="suspended") == 2


async def test_a_client_that_leaves_while_it_waits_is_no_trouble(running: Running) -> None:
    await running.use(python("async def on_request(self, request):\n    await asyncio.sleep(0.03)"))
    connection = await running.connect()
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: running.proxy.worker.listeners[0].in_flight)
    await connection.close()
    await until(lambda: running.proxy.records)
    assert running.proxy.records[-1].flags == "DC"
    assert (await (await running.connect()).get("/")).status == 200


async def test_an_upstream_that_dies_while_the_answer_is_held_is_told(running: Running) -> None:
    async def cut(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        incoming.reset()

    running.origin.handler = cut
    await running.use(python("def on_response_body(self, request, response, body):\n    pass"))
    answer = await (await running.connect()).get("/")
    assert answer.status == 502


# what can not serve


@pytest.mark.parametrize(
    ("source", "class_name", "path", "why"),
    [
        pytest.param("class Test(:", "Test", "source", "line 1", id="a syntax error"),
        pytest.param("x = 1\n1 / 0", "Test", "source", "line 2: ZeroDivisionError", id="an exception at import"),
        pytest.param("import no_such_module", "Test", "source", "ModuleNotFoundError", id="a missing module"),
        pytest.param(HEAD + "    pass", "Other", "class", "there is Test", id="another class"),
        pytest.param("class Test: pass", "Test", "class", "no class derived from", id="no filter"),
        pytest.param(HEAD + "    pass", "Test", "class", "defines no hook", id="no hook"),
        pytest.param(
            HEAD + "    def on_requset(self, r): pass", "Test", "class", "on_requset is no", id="a misspelt hook"
        ),
        pytest.param(
            HEAD + "    api_version = 2\n    def on_request(self, r): pass",
            "Test",
            "class",
            "version 2",
            id="the future",
        ),
        pytest.param(
            HEAD + "    def on_request(self, r): pass\n    def __init__(self, config): self.x = config['key']",
            "Test",
            "config",
            "KeyError",
            id="a constructor that fails",
        ),
        pytest.param("raise SystemExit(3)", "Test", "source", "SystemExit", id="an exit"),
    ],
)
async def test_a_filter_that_can_not_be_made_is_refused_and_the_last_one_serves(
    running: Running, source: str, class_name: str, path: str, why: str
) -> None:
    await running.use(python("def on_request(self, request):\n    return LocalReply(418)"))
    refused = await running.use(PythonFilter("default/test", source, class_name))
    assert isinstance(refused, Refused)
    assert refused.resource == "listeners/in"
    assert refused.path == f"filter_chains[0].http_filters[1].typed_config.value.{path}"
    assert why in refused.reason
    assert (await (await running.connect()).get("/")).status == 418


# changes

COUNTING = """
def __init__(self, config):
    super().__init__(config)
    self.count = 0
def on_request(self, request):
    self.count += 1
    request.headers.set("x-count", str(self.count))
"""


async def test_state_lives_on_while_the_rule_asks_for_the_same(running: Running) -> None:
    connection = await running.connect() if await running.use(python(COUNTING)) else None
    assert connection is not None
    await connection.get("/")
    # Other routes, another bound, another match: the same object.
    await running.use(python(COUNTING, timeout_s=0.2, max_body_bytes=1), route=forward_to("up", timeout_s=9.0))
    await connection.get("/")
    assert running.origin.requests[-1].get(b"x-count") == b"2"
    await running.use(python(COUNTING, config={"new": True}))
    await connection.get("/")
    assert running.origin.requests[-1].get(b"x-count") == b"1"
    assert running.origin.connections == 1


async def test_a_request_keeps_the_filter_that_it_began_with_which_closes_afterwards(
    running: Running, tmp_path: Path
) -> None:
    old = """
closed = []
async def on_request(self, request):
    await asyncio.sleep(0.05)
    request.headers.set("x-closed", str(len(self.closed)))
def on_response(self, request, response):
    response.headers.set("x-old", str(len(self.closed)))
def close(self):
    self.closed.append(1)
    with open(self.config["file"], "w") as file:
        file.write("closed")
"""
    mark = tmp_path / "mark"
    await running.use(python(old, config={"file": str(mark)}))
    connection = await running.connect()
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: running.proxy.worker.listeners[0].in_flight)
    await running.use()
    answer = await connection.answer()
    assert answer.get(b"x-old") == b"0"
    assert running.origin.requests[-1].get(b"x-closed") == b"0"
    # What is compiled may leave the last reference in a cycle.
    await until(lambda: gc.collect() >= 0 and mark.exists())
    assert (await connection.get("/")).get(b"x-old") is None


async def test_swaps_under_load_lose_nothing(running: Running) -> None:
    hook = """
async def on_request(self, request):
    await asyncio.sleep(0)
    request.headers.set("x-rule", self.config["rule"])
def on_response(self, request, response):
    response.headers.set("x-rule", self.config["rule"])
"""
    await running.use(python(hook, config={"rule": "-1"}, timeout_s=5.0))
    changing = True
    answers: list[tuple[int, bytes | None]] = []

    async def load() -> None:
        connection = await running.connect()
        while changing:
            answer = await connection.get("/")
            answers.append((answer.status, answer.get(b"x-rule")))

    loads = [asyncio.get_running_loop().create_task(load()) for _ in range(8)]
    for number in range(60):
        assert isinstance(await running.use(python(hook, config={"rule": str(number)}, timeout_s=5.0)), Applied)
        await asyncio.sleep(0.001)
    changing = False
    await asyncio.gather(*loads)
    assert {status for status, _ in answers} == {200}
    assert len({rule for _, rule in answers}) > 5
    assert running.origin.connections <= 8
    assert (await (await running.connect()).get("/")).get(b"x-rule") == b"59"


async def test_clients_of_http2_meet_the_same_filters(running: Running, h2_client: H2Client) -> None:
    running.origin.handler = answer_ok
    await running.use(
        python(
            """
async def on_request_body(self, request, body):
    await asyncio.sleep(0)
    request.set_body(body + b"!")
async def on_response_body(self, request, response, body):
    response.set_body(body + str(len(body)).encode())
"""
        )
    )
    connection = await h2_client.connect(running.address)
    stream = connection.open(get(method=b"POST"), end=False)
    await connection.send(stream, b"x" * 30_000, end=True)
    answer = await connection.answer(stream)
    assert answer.status == 200
    assert bytes(answer.body) == b"ok2"
    assert running.origin.requests[-1].get(b"content-length") == b"30001"


# what no filter should raise, and what it must not end


ODD_ERRORS = {
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "SystemExit": "raise SystemExit(3)",
    "a cancellation": "raise asyncio.CancelledError()",
    "an error of no known kind": "raise type('Odd', (BaseException,), {})()",
    "an error that can not say what it is": "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()",
}


@pytest.mark.parametrize("wait", ["", "await asyncio.sleep(0); "], ids=["at once", "after a wait"])
@pytest.mark.parametrize("statement", ODD_ERRORS.values(), ids=ODD_ERRORS.keys())
async def test_whatever_it_raises_only_the_request_fails(running: Running, statement: str, wait: str) -> None:
    await running.use(python(f"{'async ' if wait else ''}def on_request(self, request): {wait}{statement}"))
    for _ in range(2):
        assert (await (await running.connect()).get()).status == 503
    assert running.counted("remora_filter_failures_total", reason="exception") == 2
    assert [listener.in_flight for listener in running.proxy.worker.listeners] == [0]
    await running.use()
    assert (await (await running.connect()).get()).status == 200


async def test_a_hook_that_cancels_itself_fails_at_once(running: Running) -> None:
    await running.use(
        python("async def on_request(self, request): asyncio.current_task().cancel(); await asyncio.sleep(60)")
    )
    assert (await (await running.connect()).get()).status == 503
    assert running.counted("remora_filter_failures_total", reason="exception") == 1
    assert [listener.in_flight for listener in running.proxy.worker.listeners] == [0]


ODD_SOURCES = {
    **{f"its module raises {name}": f"import asyncio\n{statement}" for name, statement in ODD_ERRORS.items()},
    "its module answers for names": "def __getattr__(name): raise RuntimeError",
    "its class does not say what it has": (
        "from sidecar.filters.api import Filter\n"
        "class Kind(type):\n    def __dir__(cls): raise RuntimeError\n"
        "class Test(Filter, metaclass=Kind):\n    def on_request(self, request): pass\n"
    ),
    "it does not show its hooks": (
        "from sidecar.filters.api import Filter\n"
        "class Test(Filter):\n    def on_request(self, request): pass\n"
        "    def __getattribute__(self, name): raise RuntimeError\n"
    ),
}


@pytest.mark.parametrize("source", ODD_SOURCES.values(), ids=ODD_SOURCES.keys())
async def test_however_it_can_not_be_loaded_it_is_refused(running: Running, source: str) -> None:
    await running.use(python('def on_request(self, request): request.headers.set("x-good", "1")'))
    answer = await running.use(PythonFilter("default/test", source, "Test", "{}"))
    assert isinstance(answer, Refused)
    assert (await (await running.connect()).get()).status == 200
    assert running.origin.requests[-1].get(b"x-good") == b"1"


async def test_a_path_that_it_sets_has_the_one_spelling(running: Running) -> None:
    await running.use(python("def on_request(self, request): request.path = '/public/../%61dmin'"))
    assert (await (await running.connect()).get("/public?a=..")).status == 200
    assert running.origin.requests[-1].target == b"/admin?a=.."


async def test_a_body_that_lies_about_its_length_is_framed_by_what_it_is(running: Running) -> None:
    await running.use(
        python(
            """
class Body(bytes):
    def __len__(self): return 3
def on_response_body(self, request, response, body): response.set_body(self.Body(b"abcHTTP/1.1 200 OK"))
"""
        )
    )
    answer = await (await running.connect()).get()
    assert (answer.get(b"content-length"), answer.body) == (b"18", b"abcHTTP/1.1 200 OK")
