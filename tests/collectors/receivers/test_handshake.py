import hashlib
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.receivers.handshake import (
    MAX_PING_BYTES,
    Handshake,
    HandshakeFailed,
    Security,
    Welcome,
    parse_users,
)

KEY = Security(b"the key")
USERS = Security(b"the key", {"alice": b"wonder:land", "bob": b"builder"}, "collector.example")
NONCE, SALT = b"\xff" * 16, b"\xfe" * 16


def sha512(*parts: bytes) -> str:
    return hashlib.sha512(b"".join(parts)).hexdigest()


def ping(
    *, key: bytes = b"the key", user: str = "", password: bytes = b"", hostname: str = "sender", nonce: bytes = NONCE
) -> list[Any]:
    """As fluentd's out_forward makes it."""
    proof = sha512(b"salt", hostname.encode(), nonce, key)
    return ["PING", hostname, "salt", proof, user, sha512(SALT, user.encode(), password) if user else ""]


def feed(security: Security, *data: bytes) -> Welcome | None:
    handshake = Handshake(security, NONCE, SALT)
    handshake.helo()
    outcome = None
    for piece in data:
        assert outcome is None
        outcome = handshake.feed(piece)
    return outcome


def pack(message: object, **options: Any) -> bytes:
    return bytes(msgpack.packb(message, **options))


def test_helo_has_the_nonce_and_the_salt_only_where_users_are_asked_for() -> None:
    assert msgpack.unpackb(Handshake(KEY, NONCE, SALT).helo()) == [
        "HELO", {"nonce": NONCE, "auth": b"", "keepalive": True},
    ]  # fmt: skip
    assert msgpack.unpackb(Handshake(USERS, NONCE, SALT).helo())[1]["auth"] == SALT


def test_who_knows_the_key_is_welcome_and_can_tell_that_we_know_it_too() -> None:
    welcome = feed(KEY, pack(ping()) + b"more")
    assert welcome is not None
    expected = sha512(b"salt", b"remora-collector", NONCE, b"the key")
    assert msgpack.unpackb(welcome.answer) == ["PONG", True, "", "remora-collector", expected]
    assert (welcome.rest, welcome.user, welcome.hostname) == (b"more", None, "sender")


@pytest.mark.parametrize("options", [{"use_bin_type": False}, {"use_bin_type": True}], ids=["str", "bin"])
def test_a_user_with_the_right_password_is_welcome_by_name(options: dict[str, Any]) -> None:
    raw = [part.encode() if options["use_bin_type"] else part for part in ping(user="alice", password=b"wonder:land")]
    welcome = feed(USERS, pack(raw, **options))
    assert welcome is not None
    assert welcome.user == "alice"


@pytest.mark.parametrize(
    ("security", "message", "reason", "told"),
    [
        pytest.param(KEY, ping(key=b"another"), "shared key mismatch", "shared_key mismatch", id="wrong key"),
        pytest.param(KEY, ping(nonce=b"x" * 16), "shared key mismatch", "shared_key mismatch", id="another's nonce"),
        pytest.param(USERS, ping(), "user or password mismatch", "username/password mismatch", id="no user"),
        pytest.param(
            USERS, ping(user="alice", password=b"x"), "user or password mismatch", "username/password mismatch",
            id="wrong password",
        ),
        pytest.param(
            USERS, ping(user="mallory"), "user or password mismatch", "username/password mismatch",
            id="unknown user with an empty password",
        ),
        pytest.param(
            KEY, ping(hostname="remora-collector"), "same hostname", "sender and receiver have the same hostname",
            id="our own name",
        ),
        pytest.param(KEY, ["PING", 1, 2, 3, 4, 5], "malformed PING", "malformed PING", id="numbers"),
        pytest.param(KEY, ping()[:5], "no PING", "a PING is expected", id="too short"),
        pytest.param(KEY, ["tag", [[1, {"a": 1}]]], "no PING", "a PING is expected", id="a message instead"),
        pytest.param(KEY, None, "no PING", "a PING is expected", id="a heartbeat instead"),
    ],
)  # fmt: skip
def test_anybody_else_is_told_why_not(security: Security, message: Sequence[Any], reason: str, told: str) -> None:
    with pytest.raises(HandshakeFailed) as failure:
        feed(security, pack(message))
    assert str(failure.value) == reason
    assert msgpack.unpackb(failure.value.answer) == ["PONG", False, told, "", ""]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc1", id="a byte that msgpack never uses"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list that promises gigabytes"),
        pytest.param(b"\x96\xa4PING\xdb\x7f\xff\xff\xff" + b"x" * MAX_PING_BYTES, id="a text that promises them"),
        pytest.param(b"\x91" * 5_000, id="depth"),
        pytest.param(pack(["PING", "x" * MAX_PING_BYTES, "", "", "", ""]), id="size"),
        pytest.param(pack(["PING", [0] * 100, "", "", "", ""]), id="a long list within"),
    ],
)
def test_bytes_that_are_no_ping_end_it_without_an_answer(data: bytes) -> None:
    with pytest.raises(HandshakeFailed, match="malformed PING") as failure:
        feed(KEY, data)
    assert failure.value.answer == b""


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_ping_in_pieces_is_the_same_ping(first: int, second: int) -> None:
    data = pack(ping())
    cuts = sorted((min(first, len(data)), min(second, len(data))))
    pieces = [piece for piece in (data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :]) if piece]
    assert feed(KEY, *pieces) == feed(KEY, data)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_ping_or_not_yet(data: bytes) -> None:
    try:
        assert feed(KEY, data) is None
    except HandshakeFailed:
        pass


def test_what_a_key_or_password_is_shows_nowhere() -> None:
    assert "the key" not in repr(USERS)
    assert "builder" not in repr(USERS)


def test_users_are_read_line_by_line_and_a_password_may_have_colons() -> None:
    assert parse_users("# people\nalice:wonder:land\n\nbob:b\n") == {"alice": b"wonder:land", "bob": b"b"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice:secret\nsecret2\n", "line 2 is not user:password"),
        ("alice:secret\nalice:secret2\n", "line 2 has a user that an earlier line has"),
        ("alice:\n", "line 1"),
        ("# nobody\n", "names no user"),
    ],
)
def test_a_users_file_that_is_wrong_is_refused_without_showing_what_is_in_it(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        parse_users(text)
    assert "secret" not in str(error.value)
