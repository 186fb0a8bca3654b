"""Who else is alive in the pod."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from sidecar.agent.pod_sockets import PodSockets, describe, own_processes

TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
UNIX = "Num       RefCount Protocol Flags    Type St Inode Path\n"


def tcp(state: str, inode: int) -> str:
    return f"   0: 0100007F:3A98 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 1337 0 {inode} 1 0\n"


class Proc:
    """A made up /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "self/net").mkdir(parents=True)
        self.put("tcp", TCP)

    def put(self, table: str, text: str) -> None:
        (self.root / "self/net" / table).write_text(text)

    def own(self, pid: int, *inodes: int) -> None:
        directory = self.root / str(pid) / "fd"
        directory.mkdir(parents=True)
        for number, inode in enumerate(inodes):
            (directory / str(number)).symlink_to(f"socket:[{inode}]")
        (directory / "99").symlink_to("/dev/null")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_sockets_that_are_not_ours_are_the_applications(proc: Proc) -> None:
    proc.put("tcp", TCP + tcp("0A", 1) + tcp("0A", 2) + tcp("01", 3) + tcp("01", 4) + tcp("08", 5))
    proc.put("unix", UNIX + "0000: 00000002 00000000 00010000 0001 01 7 @app\n0000: 00000003 0 0 0001 03 8\n")
    proc.own(10, 1, 3)
    proc.own(11, 8)
    found = PodSockets(lambda: [10, 11], proc.root).foreign()
    assert found == {"tcp (listening)": 1, "tcp": 2, "unix": 1}
    assert describe(found) == "2 tcp, 1 tcp (listening), 1 unix"


def test_what_the_kernel_keeps_after_a_process_is_nobodys(proc: Proc) -> None:
    # TIME_WAIT, FIN_WAIT2 and LAST_ACK of processes that have ended have no inode.
    proc.put("tcp", TCP + tcp("06", 0) + tcp("05", 0) + tcp("09", 0))
    assert PodSockets(lambda: [10], proc.root).foreign() == {}


def test_a_process_that_has_ended_and_a_table_that_is_not_there_are_no_trouble(proc: Proc) -> None:
    proc.put("tcp", TCP + tcp("0A", 1) + "half a li")
    proc.own(10, 1)
    assert PodSockets(lambda: [10, 12], proc.root).foreign() == {}


def test_a_socket_that_comes_or_goes_meanwhile_is_not_taken_for_anothers(proc: Proc) -> None:
    proc.put("tcp", TCP + tcp("01", 5))

    def processes() -> list[int]:
        # Between the two looks at the tables: ours has closed one and opened another.
        proc.put("tcp", TCP + tcp("01", 6))
        return []

    assert PodSockets(processes, proc.root).foreign() == {}


def test_without_a_proc_nothing_is_claimed(tmp_path: Path) -> None:
    # No table at all: it must not look as if the pod were empty.
    with pytest.raises(OSError, match="No such file"):
        PodSockets(lambda: [1], tmp_path / "nowhere").foreign()


async def test_the_real_proc_tells_our_sockets_from_a_childs() -> None:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        own = int(os.readlink(f"/proc/self/fd/{ours.fileno()}")[8:-1])
        program = (
            "import os, socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
            "print(os.readlink(f'/proc/self/fd/{s.fileno()}'), flush=True); input()"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        theirs = int((await child.stdout.readline()).strip()[8:-1])
        assert {os.getpid(), child.pid} <= set(own_processes())
        alone = PodSockets(lambda: [os.getpid()]).others()
        assert alone[theirs] == "tcp (listening)"
        assert own not in alone
        together = PodSockets(own_processes).others()
        assert not {own, theirs} & together.keys()
        child.kill()
        await child.wait()
