"""The agent's children: bounded, with nothing of the agent's in their environment, and none left behind."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.lifecycle import TaskScope
from remora.node.capture import CHILDREN, CaptureFailed, ChildCapturer

PYTHON = (sys.executable, "-I", "-c")


@pytest.fixture
def handle() -> Iterator[int]:
    """Of a file: no network at all."""
    opened = os.open("/dev/null", os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ("IPv4: rules applied (iptables-nft (nft))\nIPv6: rules applied", True),
        ("IPv4: rules replaced (iptables-nft (nft))\nIPv6: nothing to do", True),
        ("IPv4: nothing to do\nIPv6: skipped, this kernel has none", False),
    ],
    ids=["new", "of an older version", "there already"],
)
async def test_what_a_child_says_is_kept_in_one_line(handle: int, said: str, changed: bool) -> None:
    done = await ChildCapturer([*PYTHON, f"print({said!r})"])(handle, [])
    assert (done.changed, done.said) == (changed, said.replace("\n", "; "))


async def test_it_gets_the_handle_and_the_flags(handle: int) -> None:
    script = "import os, sys; os.fstat(int(sys.argv[1])); print(sys.argv[2:])"
    done = await ChildCapturer([*PYTHON, script])(handle, ["--a=1", "--b="])
    assert done.said == "['--a=1', '--b=']"


async def test_it_gets_nothing_of_the_agents_environment(handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("XTABLES_LOCKFILE", "/tmp/lock")
    done = await ChildCapturer([*PYTHON, "import os; print(sorted(os.environ))"])(handle, [])
    assert "KUBERNETES_SERVICE_HOST" not in done.said
    assert "XTABLES_LOCKFILE" in done.said


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import sys; sys.exit('remora init-iptables: no iptables\\nremora init-iptables: install it')",
         "no iptables; install it"),
        ("raise SystemExit(3)", "the child ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "the child ended with status -9"),
        ("import sys; sys.exit('x' * 100_000)", "x" * 800),
    ],
    ids=["it says why", "it says nothing", "it is killed", "it says too much"],
)  # fmt: skip
async def test_a_child_that_fails_is_said_why(handle: int, script: str, why: str) -> None:
    with pytest.raises(CaptureFailed) as failed:
        await ChildCapturer([*PYTHON, script])(handle, [])
    assert str(failed.value) == why


HANGS = "import os, sys, time; open(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(600)"


def running(path: Path) -> bool:
    """The process whose number is in the file."""
    return Path("/proc", path.read_text()).exists()


async def test_a_child_that_hangs_is_ended(handle: int, tmp_path: Path) -> None:
    with pytest.raises(CaptureFailed, match=r"the rules were not put within 0\.5 s"):
        await ChildCapturer([*PYTHON, HANGS], within_s=0.5)(handle, [str(tmp_path / "pid")])
    assert not running(tmp_path / "pid")


async def test_an_agent_that_ends_leaves_no_child(handle: int, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with TaskScope() as scope:
        scope.spawn(ChildCapturer([*PYTHON, HANGS])(handle, [str(path)]), name="capture")
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.01)
        assert running(path)
    assert not running(path)


async def test_only_so_many_run_at_a_time(handle: int, tmp_path: Path) -> None:
    capture = ChildCapturer([*PYTHON, HANGS])
    async with TaskScope() as scope:
        for number in range(CHILDREN + 2):
            scope.spawn(capture(handle, [str(tmp_path / str(number))]), name=f"capture {number}")
        while len(list(tmp_path.iterdir())) < CHILDREN:
            await asyncio.sleep(0.01)
        assert capture._free.locked(), "the others wait"
        assert len(list(tmp_path.iterdir())) == CHILDREN


async def test_what_is_no_network_is_not_entered(handle: int) -> None:
    with pytest.raises(CaptureFailed, match="the pod's network cannot be entered"):
        await ChildCapturer()(handle, [])
