"""Bytes of any kind: a question, or none; answers of our own, within what the client takes."""

import random
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.agent.dns import questions
from sidecar.agent.dns.questions import Bad, Question

RNG = random.Random(7)
ADDRESSES = tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::1")))
WIRE = dns.message.make_query("cart.shop", "A", use_edns=0, payload=1232).to_wire()


def question(name: str = "cart.shop", kind: str = "A", **options: int) -> Question:
    parsed = questions.parse(dns.message.make_query(name, kind, **options).to_wire())  # type: ignore[arg-type]
    assert isinstance(parsed, Question)
    return parsed


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("A", {"10.0.0.1", "10.0.0.2"}), ("AAAA", {"fd00::1"})],
)
def test_a_name_of_the_mesh_has_its_addresses_of_the_asked_kind(kind: str, expected: set[str]) -> None:
    asked = question(kind=kind)
    wire = questions.local(asked, ADDRESSES, RNG)
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert asked.message.is_response(answer)
    assert (answer.rcode(), {str(each) for each in answer.answer[0]}) == (dns.rcode.NOERROR, expected)
    assert answer.answer[0].ttl == 30
    assert answer.flags & dns.flags.RA


def test_the_other_kind_is_no_data_and_other_types_are_not_ours() -> None:
    wire = questions.local(question(kind="AAAA"), ADDRESSES[:2], RNG)
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert questions.local(question(kind="MX"), ADDRESSES, RNG) is None


def test_an_answer_that_is_too_long_for_the_client_says_so() -> None:
    many = [ip_address(f"10.1.{number >> 8}.{number & 255}") for number in range(256)]
    for asked, length in ((question(), 512), (question(use_edns=0, payload=1232), 1232)):
        wire = questions.local(asked, many, RNG)
        assert wire is not None
        assert len(dns.message.from_wire(wire).answer[0]) == 256
        cut = questions.fitting(asked, wire)
        assert len(cut) <= length
        assert dns.message.from_wire(cut).flags & dns.flags.TC
        assert questions.is_truncated(cut)
    short = questions.local(question(), many[:2], RNG)
    assert short is not None
    assert questions.fitting(question(), short) is short


@pytest.mark.parametrize(
    ("wire", "bad", "code"),
    [
        pytest.param(b"", Bad.DROPPED, None, id="nothing"),
        pytest.param(WIRE[:11], Bad.DROPPED, None, id="half a header"),
        pytest.param(WIRE[:2] + b"\x81" + WIRE[3:], Bad.DROPPED, None, id="an answer"),
        pytest.param(WIRE[:2] + b"\x29" + WIRE[3:], Bad.UNSUPPORTED, dns.rcode.NOTIMP, id="an update"),
        pytest.param(WIRE[:20], Bad.MALFORMED, dns.rcode.FORMERR, id="half a name"),
        pytest.param(WIRE + b"x", Bad.MALFORMED, dns.rcode.FORMERR, id="bytes behind it"),
        pytest.param(WIRE[:4] + b"\0\0" + WIRE[6:], Bad.MALFORMED, dns.rcode.FORMERR, id="no question"),
        pytest.param(WIRE[:4] + b"\xff\xff" + WIRE[6:], Bad.MALFORMED, dns.rcode.FORMERR, id="65,535 questions"),
        pytest.param(WIRE[:12] + b"\xc0\x0c" + WIRE[12:], Bad.MALFORMED, dns.rcode.FORMERR, id="a name in a circle"),
        pytest.param(WIRE[:12] + bytes(5000), Bad.MALFORMED, dns.rcode.FORMERR, id="a long one"),
    ],
)
def test_what_is_no_question_is_dropped_or_refused(wire: bytes, bad: Bad, code: int | None) -> None:
    assert questions.parse(wire) is bad
    refusal = questions.refusal(wire, bad)
    if code is None:
        assert refusal is None
    else:
        assert refusal is not None
        answer = dns.message.from_wire(refusal)
        assert (answer.id, answer.rcode(), bool(answer.flags & dns.flags.QR)) == (
            int.from_bytes(wire[:2], "big"), code, True,
        )  # fmt: skip


@given(st.one_of(st.binary(max_size=600), st.tuples(st.integers(0, len(WIRE)), st.binary(max_size=40)).map(
    lambda cut: WIRE[: cut[0]] + cut[1] + WIRE[cut[0] + len(cut[1]) :])))  # fmt: skip
def test_no_bytes_raise(wire: bytes) -> None:
    parsed = questions.parse(wire)
    if isinstance(parsed, Question):
        assert dns.message.from_wire(questions.failure(parsed)).rcode() == dns.rcode.SERVFAIL
        assert isinstance(parsed.text, str)
        questions.fitting(parsed, questions.local(parsed, ADDRESSES, RNG) or b"")
    else:
        assert (questions.refusal(wire, parsed) is None) == (parsed is Bad.DROPPED)
    assert question().matches(wire, 1) in (True, False)


def test_only_an_answer_to_this_very_question_passes() -> None:
    asked = question()
    good = dns.message.make_response(asked.message)
    wire = good.to_wire()
    assert asked.matches(wire, asked.message.id)
    assert not asked.matches(wire, asked.message.id ^ 1)
    assert not asked.matches(asked.wire, asked.message.id), "the question itself"
    for other in (question("cart.shop.example"), question(kind="AAAA")):
        forged = dns.message.make_response(other.message)
        forged.id = asked.message.id
        assert not asked.matches(forged.to_wire(), asked.message.id)
    upper = question("CART.shop")
    assert asked.matches(dns.message.make_response(upper.message).to_wire(), upper.message.id)
