"""Waiting for a process without a thread and without reaping it."""

import asyncio
import os


async def exited(pid: int) -> None:
    """Return when our child `pid` has ended; its status is still to be taken, so the pid is not yet another's."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
