"""`remora init-iptables` against the kernel, in network namespaces, with both kinds of iptables."""

import contextlib
import fcntl
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remora import cli
from remora.init.apply import Application
from remora.init.back_end import BackEnd, CaptureError
from remora.init.plan import Capture, Table, plan
from remora.init.probe import original_destination
from remora.init.table import read, transition
from tests.netns.namespaces import INSTALL, Namespace, Network
from tests.remora.init.strategies import captures

Init = Callable[..., tuple[int, str]]
"""Runs the command in a namespace; returns its exit status and all that it said."""

NOWHERE = {4: "203.0.113.7", 6: "2001:db8:77::7"}
PROXY, APP = 1337, 1000
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])

FOREIGN = """\
*nat
:ELSEWHERE - [0:0]
-A PREROUTING -p tcp -m tcp --dport 30000 -j REDIRECT --to-ports 30001
-A OUTPUT -p tcp -m comment --comment "REMORA_OUTPUT is not ours" -m tcp --dport 30000 -j ELSEWHERE
-A ELSEWHERE -p tcp -j REDIRECT --to-ports 30001
COMMIT
"""


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str]) -> Init:
    def run(there: Namespace, *argv: str) -> tuple[int, str]:
        with there.entered():
            status = cli.run(["init-iptables", *argv])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


@pytest.fixture(params=["nft", "legacy"])
def kind(request: pytest.FixtureRequest) -> str:
    if shutil.which(f"iptables-{request.param}") is None:
        pytest.skip(f"iptables-{request.param} is not installed: {INSTALL}")
    return str(request.param)


def save(there: Namespace, kind: str) -> str:
    return there.saved(4, f"-{kind}") + there.saved(6, f"-{kind}")


# Applying and removing


def test_rules_applied_twice_equal_once_and_removal_leaves_the_table_as_it_was(
    pod: Namespace, kind: str, init: Init
) -> None:
    for family in ("iptables", "ip6tables"):
        pod.run(f"{family}-{kind}-restore", "--noflush", stdin=FOREIGN)
    before = save(pod, kind)
    assert "ELSEWHERE" in before

    assert init(pod) == (
        0,
        f"IPv4: rules applied (iptables-{kind} ({kind}))\nIPv6: rules applied (iptables-{kind} ({kind}))\n",
    )
    once = save(pod, kind)
    assert once.count("-j REMORA_OUTPUT\n") == once.count("-j REMORA_INBOUND\n") - 4 == 2  # and for each owner
    assert init(pod) == (0, "IPv4: nothing to do\nIPv6: nothing to do\n")
    assert save(pod, kind) == once
    for line in before.splitlines():
        assert line in once.splitlines()

    status, said = init(pod, "--remove")
    assert (status, said.count("rules removed")) == (0, 2)
    assert save(pod, kind) == before
    assert "inet6 ::6" not in pod.run("ip", "address", "show", "lo").stdout
    status, said = init(pod, "--remove")
    assert (status, said.count("nothing to do, there are no rules of ours")) == (0, 4)


def test_other_rules_of_ours_are_replaced_in_place(pod: Namespace, kind: str, init: Init) -> None:
    init(pod, "--back-end", kind)
    pod.run(f"iptables-{kind}", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "ACCEPT")
    status, said = init(pod, "--exclude-outbound-ports", "3306")
    assert (status, said.count("rules replaced")) == (0, 2)
    table = pod.saved(4, f"-{kind}")
    assert "-A REMORA_OUTPUT -p tcp -m tcp --dport 3306 -j RETURN" in table
    output = [line for line in table.splitlines() if line.startswith("-A OUTPUT")]
    assert output == ["-A OUTPUT -p tcp -j REMORA_OUTPUT", "-A OUTPUT -p tcp -m tcp --dport 9 -j ACCEPT"]


def test_chains_of_an_older_version_are_replaced(pod: Namespace, kind: str, init: Init) -> None:
    older = (
        "*nat\n:REMORA_OLD - [0:0]\n:REMORA_OUTPUT - [0:0]\n-A REMORA_OLD -p tcp -j REDIRECT --to-ports 15001\n"
        "-A REMORA_OUTPUT -d 10.0.0.0/8 -j REMORA_OLD\n-A OUTPUT -p tcp -j REMORA_OUTPUT\n"
        "-A OUTPUT -p tcp -j REMORA_OLD\nCOMMIT\n"
    )
    pod.run(f"iptables-{kind}-restore", "--noflush", stdin=older)
    status, said = init(pod)
    assert status == 0
    assert f"IPv4: rules replaced (iptables-{kind} ({kind}))" in said
    table = pod.saved(4, f"-{kind}")
    assert "REMORA_OLD" not in table
    assert table.count("-j REMORA_OUTPUT\n") == 1


def test_every_flag_comes_back_from_the_kernel_as_it_was_given(pod: Namespace, kind: str, init: Init) -> None:
    """Or a second run would take the rules for others and replace them."""
    flags = (
        "--include-inbound-ports=80,8000-8010", "--exclude-inbound-ports=8005",
        "--include-outbound-ports=443,5000-5001",
        "--exclude-outbound-ports=3306,33060-33061", "--include-outbound-ip-ranges=10.96.0.0/12,fd00:96::/32,0.0.0.0/0",
        "--exclude-outbound-ip-ranges=10.1.2.3,fd00:9::1,::1:0/112,192.168.0.0/16",
        "--exclude-interfaces=net1,eth1.100",
        "--dns-port=15053", "--proxy-uid=1400", "--proxy-gid=1401", f"--back-end={kind}",
    )  # fmt: skip
    assert init(pod, *flags)[0] == 0
    assert init(pod, *flags) == (0, "IPv4: nothing to do\nIPv6: nothing to do\n")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_planned_comes_back_from_the_kernel_word_for_word(
    pod: Namespace, kind: str, data: st.DataObject
) -> None:
    """Each plan takes the place of the one before: transactions from anything to anything."""
    rules = plan(data.draw(captures()))
    back_end = BackEnd("nft" if kind == "nft" else "legacy", f"-{kind}")
    with pod.entered():
        for version in (4, 6):
            if text := transition(read(back_end.save(version)).ours, rules.of(version)):
                back_end.restore(version, text)
            assert transition(read(back_end.save(version)).ours, rules.of(version)) == ""


@dataclass(frozen=True, slots=True)
class Broken(BackEnd):
    """As on a kernel without nftables."""

    def save(self, version: int) -> str:
        raise CaptureError("iptables-nft-save failed with status 1: Protocol not supported", "modprobe nft_chain_nat")

    def restore(self, version: int, text: str) -> None:
        raise AssertionError("what cannot be read is not written")


def test_the_kind_that_works_is_used_and_it_is_said_why(pod: Namespace, kind: str) -> None:
    said: list[str] = []
    works = BackEnd("nft" if kind == "nft" else "legacy", f"-{kind}")
    with pod.entered():
        Application((Broken("nft", "-nft"), works), said.append).install(plan(Capture()))
    assert said[0] == f"IPv4: rules applied (iptables-{kind} ({kind}))"
    assert "REMORA_OUTPUT" in pod.saved(4, f"-{kind}")
    with pod.entered():
        Application((Broken("nft", "-nft"), works), said.append).remove()
    assert "REMORA" not in pod.saved(4, f"-{kind}")


def test_where_no_kind_works_each_says_why(pod: Namespace) -> None:
    with pod.entered(), pytest.raises(CaptureError) as error:
        Application((Broken("nft", "-nft"), Broken("legacy", "-legacy")), print).install(plan(Capture()))
    assert error.value.lines == (
        "iptables-nft-save failed with status 1: Protocol not supported",
        "modprobe nft_chain_nat",
    )
    assert "::6" not in pod.run("ip", "address", "show", "lo").stdout


@dataclass(frozen=True, slots=True)
class Interrupted(BackEnd):
    """Another program changes our rules between our reading and our writing, once."""

    others: "list[Table]" = field(default_factory=list)

    def restore(self, version: int, text: str) -> None:
        if self.others:
            BackEnd.restore(self, version, transition(read(self.save(version)).ours, self.others.pop()))
            raise CaptureError("iptables-nft-restore failed with status 1: Bad rule (does a matching rule exist?)")
        BackEnd.restore(self, version, text)


def test_rules_that_change_meanwhile_are_read_again(pod: Namespace) -> None:
    said: list[str] = []
    meanwhile = plan(Capture(uid=1400)).ipv4
    with pod.entered():
        Application((Interrupted("nft", "-nft", others=[meanwhile]),), said.append).install(plan(Capture()))
    assert said[0] == "IPv4: rules replaced (iptables-nft (nft))"
    assert "--uid-owner 1400" not in pod.saved()


def test_the_lock_of_the_legacy_kind_is_waited_for_as_long_as_is_said(pod: Namespace, init: Init) -> None:
    if shutil.which("iptables-legacy") is None:
        pytest.skip(f"iptables-legacy is not installed: {INSTALL}")
    with open("/run/xtables.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = init(pod, "--back-end", "legacy", "--wait", "1")
    assert status == 1
    assert "the lock /run/xtables.lock cannot be had" in said
    assert init(pod, "--back-end", "legacy")[0] == 0


COMMAND = f"{shlex.quote(sys.executable)} -m remora init-iptables"


def test_a_kernel_without_ipv6_is_said_to_have_none(pod: Namespace, tmp_path: Path) -> None:
    # The process sees no file of the network's under its own /proc, as if that kernel had no /proc/net/if_inet6.
    script = f"mount --bind {tmp_path} /proc/$$/net && exec {COMMAND}"
    said = pod.run("unshare", "--mount", "sh", "-c", script).stdout
    assert said.splitlines()[1] == "IPv6: skipped, this kernel has none"
    assert "REMORA" not in pod.saved(6)


@dataclass(frozen=True, slots=True)
class Unwritable(BackEnd):
    """Its tables can be read, as of a kernel without the owner match."""

    def restore(self, version: int, text: str) -> None:
        raise CaptureError("iptables-nft-restore failed with status 4: Extension owner is not supported")


def test_the_other_kind_is_tried_where_the_first_cannot_put_rules(pod: Namespace) -> None:
    if shutil.which("iptables-legacy") is None:
        pytest.skip(f"iptables-legacy is not installed: {INSTALL}")
    said: list[str] = []
    with pod.entered():
        Application((Unwritable("nft", "-nft"), BackEnd("legacy", "-legacy")), said.append).install(plan(Capture()))
    assert said[2] == (
        "iptables-legacy (legacy) is used: iptables-nft-restore failed with status 4: Extension owner is not supported"
    )
    assert "REMORA_OUTPUT" in pod.saved(4, "-legacy")


def test_rules_move_to_the_kind_that_is_asked_for(pod: Namespace, init: Init) -> None:
    if shutil.which("iptables-legacy") is None or shutil.which("iptables-nft") is None:
        pytest.skip(f"both kinds of iptables are needed: {INSTALL}")
    assert init(pod, "--back-end", "legacy")[0] == 0
    # Where rules of ours are already, they stay.
    assert init(pod) == (0, "IPv4: nothing to do\nIPv6: nothing to do\n")
    assert "REMORA" not in pod.saved(4, "-nft")
    assert init(pod, "--remove")[0] == 0
    assert "REMORA" not in pod.saved(4, "-legacy") + pod.saved(6, "-legacy")


def test_a_jump_of_others_into_a_chain_of_ours_goes_with_the_chain(pod: Namespace, kind: str, init: Init) -> None:
    for rule in ("-N REMORA_OLD", "-N HOLDS", "-A HOLDS -p tcp -j REMORA_OLD", "-A HOLDS -p udp -j RETURN"):
        pod.run(f"ip6tables-{kind}", "-t", "nat", *rule.split())
    assert init(pod)[0] == 0
    assert [line for line in pod.saved(6, f"-{kind}").splitlines() if "HOLDS -" in line] == [
        ":HOLDS -",
        "-A HOLDS -p udp -j RETURN",
    ]


@dataclass(frozen=True, slots=True)
class WithoutIpv6(BackEnd):
    """As on a node that has no module for it."""

    def restore(self, version: int, text: str) -> None:
        if version == 6:
            raise CaptureError("ip6tables-restore failed with status 3: Table does not exist", "modprobe ip6table_nat")
        BackEnd.restore(self, version, text)


def test_rules_of_one_ip_version_alone_are_taken_back(pod: Namespace, kind: str) -> None:
    """With an IPv6 address, half of the rules would leave a way around the sidecar."""
    said: list[str] = []
    back_end = WithoutIpv6("nft" if kind == "nft" else "legacy", f"-{kind}")
    before = save(pod, kind)
    with pod.entered(), pytest.raises(CaptureError) as error:
        Application((back_end,), said.append).install(plan(Capture()))
    assert error.value.lines[1] == "modprobe ip6table_nat"
    assert save(pod, kind) == before
    assert "::6" not in pod.run("ip", "address", "show", "lo").stdout


def test_a_node_without_modules_for_ipv6_is_no_trouble_to_a_pod_without_an_address_of_it(pod: Namespace) -> None:
    pod.ip(f"address delete {pod.ipv6}/64 dev eth0")
    said: list[str] = []
    with pod.entered():
        Application((WithoutIpv6("nft", "-nft"),), said.append).install(plan(Capture()))
    assert said[0].startswith("IPv4: rules applied")
    assert said[1].startswith("IPv6: skipped, there is no IPv6 address here and ip6tables-restore failed")


def test_without_ipv6_there_is_a_line_and_ipv4_is_captured(pod: Namespace, init: Init) -> None:
    pod.setting("net/ipv6/conf/all/disable_ipv6", "1")
    status, said = init(pod)
    assert status == 0
    assert "IPv4: rules applied" in said
    assert re.search(r"IPv6: ::6 cannot be added to the loopback interface: .*\(there is no IPv6 address here\)", said)


def test_without_the_capability_it_says_which_is_missing(pod: Namespace) -> None:
    before = pod.saved()
    result = pod.run(
        "setpriv", "--bounding-set=-net_admin", sys.executable, "-m", "remora", "init-iptables", check=False
    )
    assert result.returncode == 1
    assert "NET_ADMIN" in result.stderr
    assert "Traceback" not in result.stderr
    assert pod.saved() == before


def test_a_machine_keeps_its_connections(pod: Namespace, tmp_path: Path) -> None:
    # A process that is called as a machine's first is the first of its own processes.
    systemd = tmp_path / "systemd"
    systemd.symlink_to("/bin/sh")

    def init(flags: str = "") -> "subprocess.CompletedProcess[str]":
        script = f"{COMMAND} {flags}; exit $?"  # not in the shell's place
        return pod.run("unshare", "--pid", "--fork", "--mount-proc", str(systemd), "-c", script, check=False)

    refused = init()
    assert refused.returncode == 1
    assert refused.stderr.startswith("remora init-iptables: this is the machine's own network, not a pod's: ")
    assert "REMORA" not in pod.saved()
    assert init("--remove").returncode == 0
    assert init("--this-machine").returncode == 0
    assert "REMORA" in pod.saved()


# What the kernel does with them


@contextlib.contextmanager
def arriving(there: Namespace, port: int, version: int) -> Iterator[socket.socket]:
    """A server where the sidecar listens."""
    with there.listen("0.0.0.0" if version == 4 else "::", port, uid=PROXY) as server:
        yield server


def family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def connected(
    there: Namespace, to: tuple[str, int], *, uid: int = APP, gid: int = APP, source: str | None = None
) -> socket.socket:
    client = there.new_socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, uid=uid, gid=gid)
    if source is not None:
        client.bind((source, 0))
    client.connect(to)
    return client


@VERSIONS
def test_both_directions_arrive_at_the_sidecar_which_learns_where_they_were_going(
    net: Network, kind: str, version: int, init: Init
) -> None:
    pod, other = net.pod("pod"), net.pod("other")
    assert init(pod, "--back-end", kind)[0] == 0
    target = (NOWHERE[version], 80)
    with arriving(pod, 15_001, version) as sidecar, connected(pod, target) as client:
        accepted, _ = sidecar.accept()
        with accepted:
            assert original_destination(accepted) == target
            assert accepted.getpeername()[:2] == client.getsockname()[:2]
    target = (pod.address(version), 9080)
    with arriving(pod, 15_006, version) as sidecar, connected(other, target) as client:
        accepted, _ = sidecar.accept()
        with accepted:
            assert original_destination(accepted) == target
            # The client's own address and port: REDIRECT changes the destination alone.
            assert (
                accepted.getpeername()[:2]
                == client.getsockname()[:2]
                == (other.address(version), client.getsockname()[1])
            )


@VERSIONS
def test_what_the_sidecar_sends_is_not_captured(net: Network, version: int, init: Init) -> None:
    pod, other = net.pod("pod"), net.pod("other")
    init(pod)
    target = (other.address(version), 8080)
    with arriving(pod, 15_001, version) as sidecar, other.listen(*target) as server:
        for ids in ({"uid": PROXY, "gid": APP}, {"uid": APP, "gid": PROXY}, {"uid": PROXY, "gid": PROXY}):
            with connected(pod, target, **ids), server.accept()[0] as accepted:
                assert accepted.getpeername()[0] == pod.address(version)
        sidecar.settimeout(0)
        with pytest.raises(BlockingIOError):
            sidecar.accept()


@VERSIONS
def test_excluded_ports_and_ranges_go_around_the_sidecar(net: Network, version: int, init: Init) -> None:
    pod, other = net.pod("pod"), net.pod("other")
    ranges = f"{other.ipv4},{other.ipv6}"
    init(pod, "--exclude-outbound-ports=8081", "--exclude-inbound-ports=9000", f"--exclude-outbound-ip-ranges={ranges}")
    for target, source in (
        ((other.address(version), 8080), pod),
        ((other.address(version), 8081), pod),
        ((pod.address(version), 9000), other),
        ((pod.address(version), 15_021), other),
    ):
        there = other if source is pod else pod
        with there.listen(*target) as server, connected(source, target), server.accept()[0] as accepted:
            assert accepted.getpeername()[0] == source.address(version)


@VERSIONS
def test_the_sidecar_as_its_own_client_comes_in_once_and_reaches_the_application(
    pod: Namespace, version: int, init: Init
) -> None:
    init(pod)
    own = pod.address(version)
    local = "127.0.0.6" if version == 4 else "::6"
    with pod.listen(own, 8080, uid=APP) as application, arriving(pod, 15_006, version) as sidecar:
        with connected(pod, (own, 8080), uid=PROXY, gid=PROXY), sidecar.accept()[0] as accepted:
            assert original_destination(accepted) == (own, 8080)
        with connected(pod, (own, 8080), uid=PROXY, gid=PROXY, source=local), application.accept()[0] as accepted:
            assert accepted.getpeername()[0] == local
        with connected(pod, (own, 8080)), application.accept()[0] as accepted:
            assert accepted.getpeername()[0] == own


@VERSIONS
@pytest.mark.parametrize("kind_of_socket", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
def test_dns_is_asked_of_the_given_server(pod: Namespace, version: int, kind_of_socket: int, init: Init) -> None:
    init(pod, "--dns-port", "15053")
    local = "127.0.0.1" if version == 4 else "::1"
    server = pod.new_socket(family(version), uid=PROXY, kind=kind_of_socket)
    client = pod.new_socket(family(version), uid=APP, gid=APP, kind=kind_of_socket)
    with server, client:
        server.bind((local, 15_053))
        if kind_of_socket == socket.SOCK_STREAM:
            server.listen(1)
        client.connect((NOWHERE[version], 53))
        if kind_of_socket == socket.SOCK_STREAM:
            with server.accept()[0] as accepted:
                assert original_destination(accepted) == (NOWHERE[version], 53)
            return
        client.send(b"question")
        question, asked_by = server.recvfrom(512)
        server.sendto(b"answer to " + question, asked_by)
        assert client.recv(512) == b"answer to question"


def test_a_probe_sees_that_connections_would_arrive(pod: Namespace, kind: str, init: Init) -> None:
    status, said = init(pod, "--probe", "--back-end", kind)
    assert status == 0
    assert [line for line in said.splitlines() if line.startswith("probe: ")] == [
        "probe: IPv4 outbound: a connection to 192.0.2.1:80 arrives at port 15001",
        f"probe: IPv4 inbound: a connection to {pod.ipv4}:80 arrives at port 15006",
        "probe: IPv6 outbound: a connection to [2001:db8::1]:80 arrives at port 15001",
        f"probe: IPv6 inbound: a connection to [{pod.ipv6}]:80 arrives at port 15006",
    ]


def test_a_probe_without_the_capability_to_be_the_sidecar_says_what_it_skips(pod: Namespace) -> None:
    """As the injector's init container has it: NET_ADMIN and NET_RAW, and nothing else."""
    argv = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", sys.executable, "-m", "remora", "init-iptables"]
    result = pod.run(*argv, "--probe", check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "probe: IPv4 outbound: a connection to 192.0.2.1:80 arrives at port 15001" in result.stdout
    assert "probe: IPv6 inbound: skipped, to connect as user 1337 takes SETUID" in result.stdout


def test_a_probe_sees_that_rules_of_others_come_before_ours(pod: Namespace, init: Init) -> None:
    pod.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "ACCEPT")
    pod.run("iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "REJECT", "--reject-with", "tcp-reset")
    status, said = init(pod, "--probe")
    assert status == 1
    assert "probe: IPv4 outbound: a connection to 192.0.2.1:80 does not arrive at port 15001" in said
    assert "look for rules of others before ours" in said


def test_a_probe_while_the_sidecar_runs_says_that_it_is_too_late(pod: Namespace, init: Init) -> None:
    with arriving(pod, 15_001, 4):
        status, said = init(pod, "--probe")
    assert status == 1
    assert "probe: port 15001 cannot be had: Address already in use; probe before the sidecar starts" in said
