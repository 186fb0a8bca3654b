"""Pods' processes are found, and which network namespace is the pod's."""

import os
from pathlib import Path

import pytest

from remora.node.processes import Process, Unreadable, find, network, nodes_own
from tests.remora.node.processes import FakeProc

ONE, TWO = "0f3b1c9e-6a52-4d07-9c6e-3f1a2b4c5d6e", "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def inode(proc: FakeProc, name: str) -> int:
    return proc.network(name).stat().st_ino


def test_processes_are_found_by_their_pods_oldest_first(proc: FakeProc) -> None:
    proc.of_pod(30, ONE, "one", started=300)
    proc.of_pod(40, ONE, "one", started=200)
    proc.of_pod(20, TWO, "two")
    proc.process(50, "0::/system.slice/sshd.service\n", "node")
    (proc.at / "self").mkdir()
    assert find(proc.at, {ONE}) == {ONE: [Process(200, 40), Process(300, 30)]}
    assert set(find(proc.at, {ONE, TWO, "another"})) == {ONE, TWO}


def test_the_pods_network_is_that_of_its_oldest_process_which_is_not_in_the_nodes(proc: FakeProc) -> None:
    proc.of_pod(10, ONE, "node", started=1)  # the runtime's own
    proc.of_pod(30, ONE, "one", started=2)
    proc.of_pod(40, ONE, "made by a container itself", started=3)
    found = find(proc.at, {ONE})[ONE]
    with network(proc.at, ONE, found, nodes_own(proc.at)) as opened:
        assert opened is not None
        assert (opened.id.inode, opened.process.pid) == (inode(proc, "one"), 30)
        assert os.fstat(opened.handle).st_ino == inode(proc, "one")
        assert not os.get_inheritable(opened.handle)
        handle = opened.handle
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_a_pod_whose_processes_are_all_in_the_nodes_network_has_none(proc: FakeProc) -> None:
    proc.of_pod(10, ONE, "node")
    with network(proc.at, ONE, find(proc.at, {ONE})[ONE], nodes_own(proc.at)) as opened:
        assert opened is None


@pytest.mark.parametrize("what", ["it ended", "its number is another pod's", "its number is a later process's"])
def test_a_number_that_is_somebody_elses_by_now_is_passed_by(proc: FakeProc, what: str) -> None:
    proc.of_pod(10, ONE, "one", started=1)
    found = find(proc.at, {ONE})[ONE]
    proc.end(10)
    if "pod" in what:
        proc.of_pod(10, TWO, "two", started=1)
    elif "later" in what:
        proc.of_pod(10, ONE, "one", started=2)
    before = len(os.listdir("/proc/self/fd"))
    with network(proc.at, ONE, found, nodes_own(proc.at)) as opened:
        assert opened is None
    assert len(os.listdir("/proc/self/fd")) == before, "handles are closed"


def test_the_nodes_own_networks_are_the_first_process_and_this_ones(proc: FakeProc) -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    assert {each.inode for each in nodes_own(proc.at)} == {inode(proc, "node"), own}


def test_a_node_that_cannot_be_seen_is_said_with_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(
        Unreadable, match=r"1/ns/net cannot be read: .*needs hostPID: true and the capability SYS_PTRACE"
    ):
        nodes_own(tmp_path)


def test_a_network_that_must_not_be_read_is_said_with_what_it_takes(proc: FakeProc) -> None:
    proc.of_pod(10, ONE, "one")
    found = find(proc.at, {ONE})[ONE]
    net = proc.at / "10" / "ns" / "net"
    net.unlink()
    net.symlink_to(net)  # a refusal that root gets, too
    with (
        pytest.raises(Unreadable, match=r"10/ns/net cannot be read: .*SYS_PTRACE"),
        network(proc.at, ONE, found, nodes_own(proc.at)),
    ):
        pass


@pytest.mark.parametrize("text", ["", "10 (app", "10 (app) S 1 2 3\n", "10 (app) " + "x " * 30])
def test_a_process_whose_state_makes_no_sense_is_none(proc: FakeProc, text: str) -> None:
    proc.of_pod(10, ONE, "one")
    (proc.at / "10" / "stat").write_text(text)
    assert find(proc.at, {ONE}) == {}
