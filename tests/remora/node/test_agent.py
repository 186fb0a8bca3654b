"""The agent's decisions, with a /proc of files and a capturer that only notes what it was asked."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.node.agent import Agent, Pace
from remora.node.capture import Captured, CaptureFailed
from remora.node.events import Warned
from remora.node.metrics import Metrics, State
from remora.node.pods import NodePod
from remora.node.processes import Unreadable
from tests.remora.node.processes import FakeProc

Eventually = Callable[..., Awaitable[None]]
UID, OTHER = "0f3b1c9e-6a52-4d07-9c6e-3f1a2b4c5d6e", "11111111-1111-4111-8111-111111111111"
WEB, API = ("shop", "web"), ("shop", "api")
POD = NodePod(UID, ("--exclude-outbound-ports=1",), True, "")
QUICK = Pace(scan_s=0.005, most_wait_s=0.02, first_retry_s=0.005, most_retry_s=0.02, again_s=0.02)


class Noted:
    """A capturer; `answers` are what it does, the last of them for ever."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        """Inodes of networks, with the flags."""
        self.answers: list[Captured | CaptureFailed | asyncio.Event] = [Captured(True, "IPv4: rules applied")]

    async def __call__(self, network: int, flags: Sequence[str]) -> Captured:
        self.asked.append((os.fstat(network).st_ino, tuple(flags)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return Captured(True, "IPv4: rules applied")
        if isinstance(answer, CaptureFailed):
            raise answer
        return answer


class Scene:
    """An agent that runs."""

    def __init__(self, at: Path) -> None:
        self.proc = FakeProc(at)
        self.capture = Noted()
        self.warned: list[Warned] = []
        self.registry = CollectorRegistry()
        self.agent = Agent(
            self.proc.at,
            self.capture,
            self.warned.append,
            Metrics(self.registry),
            SystemClock(),
            random.Random(1),
            QUICK,
        )
        self._known: dict[tuple[str, str], NodePod] = {}

    def says(self, name: tuple[str, str], pod: NodePod | None) -> None:
        """The API server."""
        before = self._known.pop(name, None)
        if pod is not None:
            self._known[name] = pod
        self.agent.changed(name, before, pod)

    def inode(self, name: str) -> int:
        return self.proc.network(name).stat().st_ino

    def state(self, name: tuple[str, str] = WEB) -> State:
        return self.agent.states()[name]

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("remora_node_captures_total", {"outcome": outcome})


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    async with TaskScope() as scope:
        scope.spawn(made.agent.run(scope), name="agent")
        yield made


async def test_a_pod_is_captured_as_soon_as_it_has_a_process(scene: Scene, eventually: Eventually) -> None:
    scene.says(WEB, POD)
    assert scene.state() is State.WAITING
    scene.proc.of_pod(10, UID, "web")
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured")
    assert scene.capture.asked == [(scene.inode("web"), ("--exclude-outbound-ports=1",))]
    assert scene.counted("applied") == 1
    assert scene.warned == []


async def test_a_captured_pod_is_asked_about_again_but_not_captured_again(scene: Scene, eventually: Eventually) -> None:
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured")
    scans = "remora_node_scan_seconds_count"
    before = scene.registry.get_sample_value(scans) or 0
    await eventually(lambda: (scene.registry.get_sample_value(scans) or 0) > before + 2, "it is looked at again")
    scene.says(WEB, replace(POD, sandbox="10.0.0.1 containerd://1"))
    scene.proc.of_pod(11, UID, "web", started=200)
    await eventually(lambda: (scene.registry.get_sample_value(scans) or 0) > before + 6, "and again")
    assert len(scene.capture.asked) == 1


async def test_a_network_that_was_made_anew_is_captured_anew(scene: Scene, eventually: Eventually) -> None:
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured")
    scene.proc.end(10)
    await eventually(lambda: scene.state() is State.WAITING, "its processes are gone")
    scene.proc.of_pod(12, UID, "web anew", started=900)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured anew")
    assert [inode for inode, _ in scene.capture.asked] == [scene.inode("web"), scene.inode("web anew")]


async def test_a_pod_of_the_same_name_is_another_one(scene: Scene, eventually: Eventually) -> None:
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured")
    scene.says(WEB, replace(POD, uid=OTHER))
    assert scene.state() is State.WAITING
    scene.proc.of_pod(20, OTHER, "another")
    await eventually(lambda: scene.state() is State.CAPTURED, "the new one is")
    assert scene.capture.asked[-1][0] == scene.inode("another")


async def test_its_own_init_containers_are_waited_for(scene: Scene, eventually: Eventually) -> None:
    scene.proc.of_pod(10, UID, "web")
    scene.proc.of_pod(20, OTHER, "api")
    scene.says(WEB, replace(POD, started=False))
    scene.says(API, replace(POD, uid=OTHER))
    await eventually(lambda: scene.state(API) is State.CAPTURED, "the other one is captured")
    assert scene.state() is State.WAITING
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "then it is")


async def test_failures_are_tried_again_told_once_and_over_when_it_works(scene: Scene, eventually: Eventually) -> None:
    failed = CaptureFailed("iptables is not installed")
    scene.capture.answers = [failed, failed, failed, Captured(False, "IPv4: nothing to do")]
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured at last")
    assert (scene.counted("failed"), scene.counted("unchanged")) == (3, 1)
    (told,) = scene.warned
    assert (told.reason, told.uid) == ("CaptureFailed", UID)
    assert told.message == "the pod's connections are not captured: iptables is not installed; it is tried again"


async def test_one_that_hangs_holds_up_no_other(scene: Scene, eventually: Eventually) -> None:
    scene.capture.answers = [asyncio.Event(), Captured(True, "IPv4: rules applied")]
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.capture.asked, "it is being captured")
    scene.proc.of_pod(20, OTHER, "api")
    scene.says(API, replace(POD, uid=OTHER))
    await eventually(lambda: scene.state(API) is State.CAPTURED, "the other one is captured")
    assert scene.state() is State.WAITING


@pytest.mark.parametrize("fails", [False, True])
async def test_a_pod_that_goes_while_it_is_captured_is_forgotten(
    scene: Scene, eventually: Eventually, fails: bool
) -> None:
    going_on = asyncio.Event()
    scene.capture.answers = [CaptureFailed("x")] if fails else [going_on]
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, POD)
    await eventually(lambda: scene.capture.asked, "it is being captured")
    scene.says(WEB, None)
    scene.proc.end(10)
    going_on.set()
    await eventually(lambda: scene.agent.states() == {}, "nothing is known of it")
    assert scene.counted("applied") == 0
    assert scene.registry.get_sample_value("remora_node_pods", {"state": "waiting"}) == 0


async def test_a_pod_that_says_what_it_may_not_is_refused_until_it_is_another(
    scene: Scene, eventually: Eventually
) -> None:
    scene.proc.of_pod(10, UID, "web")
    scene.says(WEB, replace(POD, problem="it has --remove"))
    assert scene.state() is State.REFUSED
    scene.says(WEB, replace(POD, problem="it has --remove", sandbox="10.0.0.1"))
    assert [each.reason for each in scene.warned] == ["CaptureRefused"]
    assert scene.counted("refused") == 1
    scene.says(WEB, POD)
    await eventually(lambda: scene.state() is State.CAPTURED, "it is captured")


async def test_a_node_without_its_processes_is_no_place_for_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.proc.end(1)
    async with TaskScope() as scope:
        with pytest.raises(Unreadable, match="hostPID"):
            await scene.agent.run(scope)
