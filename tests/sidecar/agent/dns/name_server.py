"""A DNS server of a test's: answers by a function, from a thread of its own, on sockets that it is given."""

import contextlib
import socket
import threading
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Answers = Callable[[dns.message.Message], dns.message.Message | bytes | None]


def records(known: dict[tuple[str, str], list[str]]) -> Answers:
    """Answers by (name without dot, type); other types of a name that is there: NODATA; other names: NXDOMAIN."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        asked = query.question[0]
        name, kind = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        if found := known.get((name, kind)):
            response.answer.append(dns.rrset.from_text_list(asked.name, 60, "IN", kind, found))
        elif name not in {each for each, _ in known}:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    return answer


class NameServer:
    """`asked` are the messages that arrived, with how. By UDP what is over 512 bytes is truncated."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dns.message.Message]] = []
        self._sockets = (udp, tcp)
        udp.settimeout(None)
        tcp.settimeout(None)
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (lambda: self._udp(udp), lambda: self._tcp(tcp))
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def on_loopback(cls, answers: Answers) -> "tuple[NameServer, int]":
        """And its port, by UDP and TCP."""
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(tcp.getsockname())
        return cls(udp, tcp, answers), tcp.getsockname()[1]

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def _udp(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, client = sock.recvfrom(65_535)
                if not wire:
                    return  # shut down
                answer = self._answer("udp", wire)
                if answer is not None:
                    sock.sendto(self._cut(answer), client)

    def _tcp(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = sock.accept()
                with client, client.makefile("rb") as stream:
                    wire = stream.read(int.from_bytes(stream.read(2), "big"))
                    answer = self._answer("tcp", wire)
                    if answer is not None:
                        data = answer if isinstance(answer, bytes) else answer.to_wire()
                        client.sendall(len(data).to_bytes(2, "big") + data)

    def _answer(self, how: str, wire: bytes) -> dns.message.Message | bytes | None:
        query = dns.message.from_wire(wire)
        self.asked.append((how, query))
        return self.answers(query)

    def _cut(self, answer: dns.message.Message | bytes) -> bytes:
        if isinstance(answer, bytes):
            return answer
        data = answer.to_wire()
        if len(data) > 512:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            data = answer.to_wire()
        return data
