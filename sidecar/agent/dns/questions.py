"""What arrives, as a question or as something that cannot be answered; and answers of our own. Pure: bytes to bytes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from sidecar.agent.dns.names import Address

TTL_S = 30
"""Istio's: a service's address changes rarely, a headless one's instances come and go."""

HEADER_BYTES = 12
MAX_QUESTION_BYTES = 4096
"""A question is a name of at most 255 bytes and options."""
MAX_UDP_BYTES = 4096
"""Of an answer, whatever the client says that it takes; on loopback nothing is fragmented."""
_PLAIN_UDP_BYTES = 512

_RESPONSE, _TRUNCATED = 0x80, 0x02


class Bad(Enum):
    """What is not answered by looking for a name."""

    DROPPED = "dropped"
    """No question at all: an answer to it could set two servers talking to each other."""
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Question:
    """One, of a message that is sound."""

    wire: bytes
    message: dns.message.Message
    name: dns.name.Name
    kind: dns.rdatatype.RdataType
    is_internet: bool

    @property
    def text(self) -> str:
        """The name as the mesh's are written; empty where it holds what no host's name does."""
        text = self.name.to_text(omit_final_dot=True)
        return "" if "\\" in text else text

    @property
    def max_udp_bytes(self) -> int:
        """What the client takes by UDP (RFC 6891 6.2.3)."""
        if self.message.edns < 0:
            return _PLAIN_UDP_BYTES
        return min(max(self.message.payload, _PLAIN_UDP_BYTES), MAX_UDP_BYTES)

    def matches(self, answer: bytes, asked_as: int) -> bool:
        """Whether `answer` is one to this question under the id `asked_as`."""
        if len(answer) < HEADER_BYTES or int.from_bytes(answer[:2], "big") != asked_as or not answer[2] & _RESPONSE:
            return False
        try:
            found = dns.message.from_wire(answer, question_only=True)
        except (dns.exception.DNSException, ValueError):
            return False
        if found.opcode() != dns.opcode.QUERY or len(found.question) != 1:
            return False
        theirs, ours = found.question[0], self.message.question[0]
        return (theirs.name, theirs.rdtype, theirs.rdclass) == (ours.name, ours.rdtype, ours.rdclass)


def parse(wire: bytes) -> Question | Bad:
    """Never raises."""
    if len(wire) < HEADER_BYTES or wire[2] & _RESPONSE:
        return Bad.DROPPED
    if (wire[2] >> 3) & 0xF != dns.opcode.QUERY:
        return Bad.UNSUPPORTED
    if len(wire) > MAX_QUESTION_BYTES:
        return Bad.MALFORMED
    try:
        message = dns.message.from_wire(wire, ignore_trailing=False)
    except (dns.exception.DNSException, ValueError):
        return Bad.MALFORMED
    if len(message.question) != 1 or int.from_bytes(wire[4:6], "big") != 1:
        return Bad.MALFORMED
    asked = message.question[0]
    return Question(wire, message, asked.name, asked.rdtype, asked.rdclass == dns.rdataclass.IN)


def refusal(wire: bytes, bad: Bad) -> bytes | None:
    """For what `parse` did not take: a header that says why, or nothing."""
    if bad is Bad.DROPPED:
        return None
    code = dns.rcode.FORMERR if bad is Bad.MALFORMED else dns.rcode.NOTIMP
    return wire[:2] + bytes([_RESPONSE | wire[2] & 0x79, code]) + bytes(8)


def failure(question: Question, code: dns.rcode.Rcode = dns.rcode.SERVFAIL) -> bytes:
    """An answer without any record."""
    return _response(question, code).to_wire()


def local(question: Question, addresses: Sequence[Address], rng: random.Random) -> bytes | None:
    """The answer of a name of the mesh; none of the asked kind is NODATA. None: the kind is none of ours."""
    version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(question.kind)
    if version is None or not question.is_internet:
        return None
    response = _response(question, dns.rcode.NOERROR)
    wanted = [str(each) for each in addresses if each.version == version]
    # Clients take the first: the instances of a headless service in turn.
    rng.shuffle(wanted)
    if wanted:
        response.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", question.kind, wanted))
    return _to_wire(response)


def fitting(question: Question, answer: bytes) -> bytes:
    """For a client that asked by UDP: what is too long says so, and the client comes by TCP."""
    if len(answer) <= question.max_udp_bytes:
        return answer
    response = _response(question, dns.rcode.NOERROR)
    response.flags |= dns.flags.TC
    return response.to_wire()


def is_truncated(answer: bytes) -> bool:
    return bool(answer[2] & _TRUNCATED)


def code_of(answer: bytes) -> int:
    """Its rcode, the header's part."""
    return answer[3] & 0xF


def _response(question: Question, code: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(question.message, recursion_available=True, our_payload=MAX_UDP_BYTES)
    response.set_rcode(code)
    return response


def _to_wire(response: dns.message.Message) -> bytes:
    """At most 64 KiB, which is what TCP carries; more instances than that nobody asks for by name."""
    return response.to_wire(max_size=65_535, prefer_truncation=True)
