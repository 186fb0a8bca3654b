"""Ordinary mitmproxy addons in their process: what they do to requests and answers, and how their faults are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from sidecar.net.addon_channel import AddonFailed
from tests.sidecar.addons import scripts
from tests.sidecar.addons.host import RunningHost, running

Run = Callable[[str], AbstractAsyncContextManager[RunningHost]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A process with a script of this text."""

    @asynccontextmanager
    async def start(text: str) -> AsyncIterator[RunningHost]:
        script = tmp_path / "addon.py"
        script.write_text(text)
        async with running(script, tmp_path) as host:
            yield host

    return start


async def test_header_path_and_body_are_rewritten(run: Run) -> None:
    async with run(scripts.REWRITE) as host:
        kind, request = await host.request(method=b"POST", body=b"words")
        assert kind == "request"
        assert request == {
            "method": b"POST",
            "authority": b"reviews:9080",
            "target": b"/new/a?x=1",
            "headers": [[b"accept", b"*/*"], [b"x-added", b"by the addon"], [b"content-length", b"5"]],
            "body": b"WORDS",
        }
        kind, response = await host.response()
        assert kind == "response"
        assert response["status"] == 200
        assert response["body"] == b"fine and more"
        assert [b"x-answered", b"by the addon"] in response["headers"]


async def test_an_answer_can_be_made_up(run: Run) -> None:
    async with run(scripts.MOCK) as host:
        kind, answer = await host.request(target=b"/mocked")
        assert kind == "response"
        assert (answer["status"], answer["body"]) == (418, b"mocked")
        assert [b"content-type", b"text/plain"] in answer["headers"]
        kind, _ = await host.request(target=b"/other")
        assert kind == "request"


async def test_classes_options_async_hooks_and_state_work(run: Run) -> None:
    async with run(scripts.LOG) as host:
        await host.request()
        await host.request(version="HTTP/2")
        _, answer = await host.response()
        assert [b"count", b"hello 2"] in answer["headers"]


async def test_a_body_that_was_not_shown_stays_as_it_is(run: Run) -> None:
    async with run("def response(flow): assert flow.response.raw_content is None") as host:
        _, request = await host.request(body=None)
        assert request["body"] is None
        _, response = await host.response(body=None)
        assert response["body"] is None


async def test_an_exception_is_told_and_the_next_request_served(run: Run) -> None:
    async with run(scripts.CRASH) as host:
        with pytest.raises(AddonFailed, match="request failed: ValueError: on purpose"):
            await host.request(target=b"/raise")
        await host.request(target=b"/later")
        with pytest.raises(AddonFailed, match="response failed: ValueError: with the answer"):
            await host.response()
        assert (await host.request())[0] == "request"


async def test_a_process_that_dies_fails_what_is_under_way_at_once(run: Run) -> None:
    async with run(scripts.CRASH) as host:
        with pytest.raises(AddonFailed, match="went away"):
            await host.request(target=b"/die", timeout_s=30)
        with pytest.raises(AddonFailed, match="can not be reached"):
            await host.request()


async def test_a_slow_hook_is_given_up_and_holds_up_nobody_else(run: Run) -> None:
    async with run(scripts.SLOW) as host:
        assert (await host.request())[0] == "request"
        slow = asyncio.ensure_future(host.request(target=b"/async", timeout_s=0.5))
        await asyncio.sleep(0)
        assert (await host.request(timeout_s=5))[0] == "request"
        with pytest.raises(AddonFailed, match=r"no answer within 0\.5 s"):
            await slow


async def test_a_hook_that_blocks_stops_the_beat(run: Run) -> None:
    async with run(scripts.SLOW) as host:
        assert await host.beat() == ""
        with pytest.raises(AddonFailed, match="no answer within"):
            await host.request(target=b"/block", timeout_s=0.2)
        while True:
            try:
                await asyncio.wait_for(host.beats.readline(), 2.5)
            except TimeoutError:
                break
        host.process.kill()


async def test_a_killed_request_is_a_failure(run: Run) -> None:
    async with run(scripts.KILL) as host:
        with pytest.raises(AddonFailed, match="killed the request"):
            await host.request()


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("def request(flow:", "addon.py can not be loaded: SyntaxError"),
        ("import nothing_like_it", "addon.py can not be loaded: ModuleNotFoundError"),
        ("import sys; sys.exit(1)", "addon.py can not be loaded: SystemExit"),
        ("def load(loader): raise ValueError('x')", "addon.py can not be loaded: ValueError: x"),
    ],
)
async def test_a_script_that_can_not_be_loaded_fails_every_request(run: Run, text: str, trouble: str) -> None:
    async with run(text) as host:
        assert (await host.beat()).startswith(trouble)
        with pytest.raises(AddonFailed, match=trouble):
            await host.request()


async def test_a_script_that_changes_is_loaded_again(run: Run, tmp_path: Path) -> None:
    async with run("this is no script") as host:
        assert "SyntaxError" in await host.beat()
        (tmp_path / "addon.py").write_text(scripts.MOCK)
        while await host.beat():
            pass
        assert (await host.request(target=b"/mocked"))[0] == "response"
        (tmp_path / "addon.py").unlink()
        while not await host.beat():
            pass
        with pytest.raises(AddonFailed, match="can not be loaded: FileNotFoundError"):
            await host.request()
