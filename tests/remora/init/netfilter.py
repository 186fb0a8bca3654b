"""A small model of what the kernel does with a new connection's first packet in the `nat` table.

It reads the text of rules, as iptables-restore does, and knows nothing of how they were planned. A word that it does
not know fails the test.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from remora.init.plan import Table

Hook = Literal["PREROUTING", "OUTPUT"]


@dataclass(frozen=True)
class Packet:
    """Of a connection's beginning."""

    hook: Hook
    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    interface_in: str = ""
    interface_out: str = ""
    uid: int | None = None
    """None: it was not sent here."""
    gid: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of it: the port it was redirected to, or None; and how often a REDIRECT was met."""

    port: int | None
    redirects: int


class Netfilter:
    """One `nat` table that has rules of ours alone."""

    def __init__(self, table: Table) -> None:
        self.chains: dict[str, list[list[str]]] = {"PREROUTING": [], "OUTPUT": []}
        lines = table.lines()
        for line in lines:
            if line.startswith(":"):
                self.chains[line[1:].split()[0]] = []
        for line in lines:
            if not line.startswith(":"):
                add, chain, *rule = line.split()
                assert add == "-A"
                self.chains[chain].append(rule)

    def verdict(self, packet: Packet) -> Verdict:
        """Evaluates chains as the kernel does: REDIRECT ends it, RETURN and a chain's end go back to the caller."""
        found: list[int] = []
        self._walk(packet.hook, packet, found, depth=0)
        return Verdict(found[0] if found else None, len(found))

    def _walk(self, chain: str, packet: Packet, found: list[int], depth: int) -> bool:
        assert depth < 10, f"chains call each other without end: {chain}"
        for rule in self.chains[chain]:
            target = _match(rule, packet)
            if target is None:
                continue
            if target[0] == "RETURN":
                return False
            if target[0] == "REDIRECT":
                assert target[1] == "--to-ports"
                found.append(int(target[2]))
                return True
            if self._walk(target[0], packet, found, depth + 1):
                return True
        return False


def _match(rule: list[str], packet: Packet) -> list[str] | None:
    """The target's words where everything before matches."""
    words = list(rule)
    matches = True
    while words:
        negated = words[0] == "!"
        if negated:
            words.pop(0)
        option = words.pop(0)
        if option == "-j":
            return words if matches else None
        value = words.pop(0)
        if option == "-m":
            assert value in ("tcp", "udp", "owner"), value
            continue
        matches = matches and _OPTIONS[option](packet, value) is not negated
    raise AssertionError(f"a rule without a target: {rule}")


def _inside(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _port(packet: Packet, value: str) -> bool:
    first, _, last = value.partition(":")
    return int(first) <= packet.port <= int(last or first)


_OPTIONS: dict[str, Callable[[Packet, str], bool]] = {
    "-p": lambda packet, value: packet.protocol == value,
    "-s": lambda packet, value: _inside(packet.source, value),
    "-d": lambda packet, value: _inside(packet.destination, value),
    "-i": lambda packet, value: packet.interface_in == value,
    "-o": lambda packet, value: packet.interface_out == value,
    "--dport": _port,
    "--uid-owner": lambda packet, value: packet.uid == int(value),
    "--gid-owner": lambda packet, value: packet.gid == int(value),
}
