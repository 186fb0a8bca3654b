"""Network namespaces as pods have them: each with a loopback and an eth0, joined by one that forwards between them.

The one in the middle ("hub") is what a node is to its pods: their default route. Nothing of the machine's own network
is touched. Needs root; `lacking()` says what is missing.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

INSTALL = "apt-get install iptables iproute2"


def lacking() -> str | None:
    """Why there can be no namespaces here; None: there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root: run the tests as root"
    for program in ("ip", "iptables", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is not installed: {INSTALL} util-linux"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"no network namespace can be made here: {made.stderr.strip()}" if made.returncode else None


@functools.cache
def as_user(uid: int) -> tuple[str, ...]:
    """What goes before a command so that this user runs it, in a group of the same number."""
    become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    trial = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import remora'], check=True)"
    if subprocess.run([*become, sys.executable, "-c", trial], capture_output=True, check=False).returncode:
        # Python, or this repository, is in a home that only root can read: leave the user that one right.
        return (*become, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return become


@dataclass
class Namespace:
    """One, by name. `ipv4` and `ipv6` are its addresses on eth0."""

    name: str
    ipv4: str
    ipv6: str
    link: str
    """Its interface's other end, in the hub."""
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    resolv_conf: Path | None = None
    """What processes of it find at /etc/resolv.conf; None: the machine's own."""

    @property
    def path(self) -> Path:
        return Path("/run/netns", self.name)

    def address(self, version: int) -> str:
        return self.ipv4 if version == 4 else self.ipv6

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in it, and so are sockets and processes that it makes. Not to be held while awaiting."""
        with open("/proc/thread-self/ns/net") as back, open(self.path) as there:
            _setns(there)
            try:
                yield
            finally:
                _setns(back)

    def new_socket(
        self, family: socket.AddressFamily, *, uid: int = 0, gid: int = 0, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        """One that belongs to that user and group, which is what rules ask for."""
        with self.entered():
            os.setegid(gid)
            os.seteuid(uid)
            try:
                made = socket.socket(family, kind)
            finally:
                os.seteuid(0)
                os.setegid(0)
        made.settimeout(5.0)
        return made

    def listen(self, host: str, port: int, *, uid: int = 0) -> socket.socket:
        """A server's socket, closed by the caller."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = self.new_socket(family, uid=uid)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, port))
        server.listen(16)
        return server

    def run(self, *argv: str, stdin: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """To its end."""
        with self.entered():
            argv = (*self._resolving(), *argv)
            return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=check)

    def start(
        self,
        argv: Sequence[str],
        *,
        uid: int = 0,
        log: "IO[bytes] | None" = None,
        pass_fds: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """A process that ends with the namespace at the latest."""
        if uid:
            argv = [*as_user(uid), *argv]
        argv = [*self._resolving(), *argv]
        with self.entered():
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=pass_fds, env=environment
            )
        self.processes.append(process)
        return process

    def _resolving(self) -> tuple[str, ...]:
        """What goes before a command, in a private mount namespace then."""
        if self.resolv_conf is None:
            return ()
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, str(self.resolv_conf))

    def setting(self, name: str, value: str) -> None:
        """Of sysctl, e.g. `net/ipv4/ip_forward`."""
        with self.entered():
            Path("/proc/sys", name).write_text(value)

    def ip(self, *lines: str) -> None:
        """Lines for `ip`."""
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), text=True, check=True)

    def saved(self, version: int = 4, suffix: str = "", *arguments: str) -> str:
        """The nat table as iptables-save shows it, without dates and without counters."""
        family = "iptables" if version == 4 else "ip6tables"
        text = self.run(f"{family}{suffix}-save", *(arguments or ("-t", "nat"))).stdout
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
        return "".join(line.rpartition(" [")[0] + "\n" if line.startswith(":") else line for line in lines)

    def terminate(self) -> None:
        """Ask its processes to end."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        self.terminate()
        for process in self.processes:
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


def _setns(handle: IO[str]) -> None:
    if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Network:
    """The hub and its pods."""

    def __init__(self, label: str) -> None:
        self._label = f"rm{os.getpid() % 100_000:05d}{label}"
        self.pods: dict[str, Namespace] = {}
        self.hub = self._made("hub", 0)
        self.hub.ip("link set lo up")
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.hub.setting(name, "1")

    def _made(self, name: str, number: int) -> Namespace:
        full = f"{self._label}-{name}"
        subprocess.run(["ip", "netns", "add", full], check=True, capture_output=True)
        host = 2 if number else 1
        made = Namespace(full, f"10.77.{max(number, 1)}.{host}", f"fd77:{max(number, 1)}::{host}", f"p{number}")
        self.pods[name] = made
        # Nobody else has these addresses: without asking around for two seconds they can be used at once.
        made.setting("net/ipv6/conf/default/accept_dad", "0")
        return made

    def pod(self, name: str) -> Namespace:
        """A new one: 10.77.N.2 and fd77:N::2, by the hub's 10.77.N.1 and fd77:N::1, the hub's own for N = 1."""
        number = len(self.pods)
        pod = self._made(name, number)
        self.hub.ip(
            f"link add {pod.link} type veth peer name eth0 netns {pod.name}",
            f"address add 10.77.{number}.1/24 dev {pod.link}",
            f"address add fd77:{number}::1/64 dev {pod.link} nodad",
            f"link set {pod.link} up",
        )
        pod.ip(
            "link set lo up",
            f"address add {pod.ipv4}/24 dev eth0",
            f"address add {pod.ipv6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via 10.77.{number}.1",
            f"route add ::/0 via fd77:{number}::1",
        )
        return pod

    def close(self) -> None:
        pods = [each for each in self.pods.values() if each is not self.hub]
        for each in pods:
            each.terminate()
        # The hub last: sidecars send their last records there.
        for each in (*pods, self.hub):
            each.close()


@contextlib.contextmanager
def network(label: str = "") -> Iterator[Network]:
    """One with a hub alone, gone at the end with all that runs in it."""
    made = Network(label)
    try:
        yield made
    finally:
        made.close()
