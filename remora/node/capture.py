"""Have a child put a pod's rules into its network namespace: bounded in time and number, its words kept."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

CHILD_S = 30.0
"""For a child. It waits some seconds for iptables' lock at most."""
CHILDREN = 4
"""At a time: a node whose pods all start at once has its processors for these, too."""
MAX_SAID_CHARACTERS = 800

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "VIRTUAL_ENV", "XTABLES_LOCKFILE", "COVERAGE_PROCESS_START")
"""What the child gets of ours: nothing that a token or an address could be in."""


class CaptureFailed(Exception):
    """The rules are not there. One line."""


@dataclass(frozen=True, slots=True)
class Captured:
    """They are."""

    changed: bool
    """False: they were there already."""
    said: str


class Capturer(Protocol):
    """Puts rules into a network namespace that is held open."""

    async def __call__(self, network: int, flags: Sequence[str]) -> Captured:
        """Raises CaptureFailed."""


_CHILD = (sys.executable, "-P", "-m", "remora.node.entered")


class ChildCapturer:
    """By a child of this program."""

    def __init__(self, command: Sequence[str] = _CHILD, within_s: float = CHILD_S) -> None:
        """`command` gets the handle's number and the flags behind it."""
        self._command = tuple(command)
        self._within_s = within_s
        self._free = asyncio.Semaphore(CHILDREN)

    async def __call__(self, network: int, flags: Sequence[str]) -> Captured:
        """Raises CaptureFailed. Cancelled, it leaves no child."""
        async with self._free:
            return await self._run(network, flags)

    async def _run(self, network: int, flags: Sequence[str]) -> Captured:
        child = await asyncio.create_subprocess_exec(
            *(*self._command, str(network), *flags),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(network,),
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        try:
            async with asyncio.timeout(self._within_s):
                said, complaint = await child.communicate()
        except TimeoutError:
            raise CaptureFailed(f"the rules were not put within {self._within_s:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise CaptureFailed(_one_line(complaint) or f"the child ended with status {child.returncode}")
        text = _one_line(said)
        return Captured("rules applied" in text or "rules replaced" in text, text)


def _one_line(said: bytes) -> str:
    lines = (line.removeprefix("remora init-iptables: ") for line in said.decode("utf-8", "replace").splitlines())
    return "; ".join(filter(None, lines))[:MAX_SAID_CHARACTERS]
