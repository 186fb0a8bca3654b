"""Listeners as settings describe them: who is let in, who is not and why."""

import asyncio
import hashlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from pydantic import ValidationError

from collectors.receivers.settings import Settings
from collectors.tls import client_context
from tests.collectors.authority import COLLECTOR, Mint
from tests.collectors.receivers.listening import NAME, Listening, write
from tests.collectors.receivers.test_forward import ack, ended, message

Eventually = Callable[..., Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    listening = Listening(tmp_path)
    yield listening
    await listening.close()


@pytest.fixture
async def connect(listening: Listening) -> AsyncIterator[Callable[..., Awaitable[Streams]]]:
    writers: list[asyncio.StreamWriter] = []

    async def connect(context: ssl.SSLContext | None = None) -> Streams:
        options = {} if context is None else {"ssl": context, "server_hostname": NAME}
        reader, writer = await asyncio.open_connection(*listening.addresses[0], **options)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()


def trusting(files: dict[str, str], own: dict[str, str] | None = None) -> ssl.SSLContext:
    """A sender's context: whom it trusts, and what it shows."""
    context = ssl.create_default_context(cafile=files["ca_file"])
    if own is not None:
        context.load_cert_chain(own["certificate_file"], own["key_file"])
    return context


def tls(files: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"tls": {"certificate_file": files["certificate_file"], "key_file": files["key_file"], **more}}


async def answer(reader: asyncio.StreamReader) -> Any:
    return msgpack.unpackb(await asyncio.wait_for(reader.read(1000), 5))


async def greet(streams: Streams, key: bytes, user: str = "", password: bytes = b"") -> Any:
    """Shake hands; the PONG."""
    reader, writer = streams
    helo = await answer(reader)
    nonce, salt = helo[1]["nonce"], helo[1]["auth"]
    proof = hashlib.sha512(b"salt" + b"sender" + nonce + key).hexdigest()
    of_user = hashlib.sha512(salt + user.encode() + password).hexdigest()
    writer.write(msgpack.packb(["PING", "sender", b"salt", proof, user, of_user]))
    return await answer(reader)


async def test_with_a_shared_key_messages_follow_the_handshake(listening: Listening, connect: Any) -> None:
    await listening.start({"shared_key_file": write(listening.directory / "key", "the key\n")})
    reader, writer = await connect()
    pong = await greet((reader, writer), b"the key")
    assert pong[:4] == ["PONG", True, "", "remora-collector"]
    writer.write(message("hello", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    assert listening.sink.messages == ["hello"]
    assert listening.sink.batches[0].sender == "127.0.0.1"


async def test_who_has_another_key_is_told_so_and_closed_and_nobody_else(
    listening: Listening, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await listening.start({"shared_key_file": write(listening.directory / "key", "the key")})
    good = await connect()
    assert (await greet(good, b"the key"))[1] is True
    bad = await connect()
    with caplog.at_level(logging.WARNING):
        assert await greet(bad, b"another key") == ["PONG", False, "shared_key mismatch", "", ""]
    assert await ended(bad[0])
    assert listening.closed_for("shared key mismatch") == 1
    assert "shared key mismatch" in caplog.text
    assert "the key" not in caplog.text
    good[1].write(message("hello", "c1"))
    assert await ack(good[0]) == {"ack": "c1"}


async def test_records_without_a_handshake_are_not_taken(listening: Listening, connect: Any) -> None:
    await listening.start({"shared_key_file": write(listening.directory / "key", "the key")})
    reader, writer = await connect()
    writer.write(message("hello", "c1"))
    assert await ended(reader) is False  # HELO comes first
    assert listening.sink.batches == []
    assert listening.closed_for("no PING") == 1


async def test_who_says_nothing_after_helo_is_closed_in_time(listening: Listening, connect: Any) -> None:
    key = write(listening.directory / "key", "the key")
    await listening.start({"shared_key_file": key}, handshake_timeout="200ms")
    reader, _ = await connect()
    await answer(reader)
    assert await ended(reader)
    assert listening.closed_for("slow handshake") == 1


async def test_users_prove_their_passwords_and_have_a_share_of_their_own(listening: Listening, connect: Any) -> None:
    await listening.start(
        {
            "shared_key_file": write(listening.directory / "key", "the key"),
            "users_file": write(listening.directory / "users", "alice:wonder\nbob:builder\n"),
        }
    )
    streams = await connect()
    assert (await greet(streams, b"the key", "alice", b"builder"))[2] == "username/password mismatch"
    assert listening.closed_for("user or password mismatch") == 1
    reader, writer = await connect()
    assert (await greet((reader, writer), b"the key", "alice", b"wonder"))[1] is True
    writer.write(message("hello", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    assert listening.sink.batches[0].sender == "user alice"


async def test_a_new_key_is_taken_without_a_restart_and_a_lost_one_lets_nobody_in(
    listening: Listening, connect: Any
) -> None:
    path = listening.directory / "key"
    await listening.start({"shared_key_file": write(path, "old")})
    assert (await greet(await connect(), b"old"))[1] is True
    write(path, "new")
    assert (await greet(await connect(), b"old"))[1] is False
    assert (await greet(await connect(), b"new"))[1] is True
    path.unlink()
    reader, _ = await connect()
    assert await ended(reader)
    assert listening.closed_for("no key") == 1


async def test_tls_with_a_certificate_of_its_own_needs_no_certificate_of_the_sender(
    listening: Listening, connect: Any
) -> None:
    files = listening.certificate("server")
    await listening.start(tls(files))
    reader, writer = await connect(trusting(files))
    writer.write(message("hello", "c1"))
    assert await ack(reader) == {"ack": "c1"}


async def test_mutual_tls_lets_in_who_has_a_certificate_and_one_of_the_names(
    listening: Listening, connect: Any
) -> None:
    files = listening.certificate("server")
    clients = Mint("clients")
    alice = listening.certificate("alice", dns=("alice.example",), mint=clients)
    bob = listening.certificate("bob", dns=("bob.example",), mint=clients)
    stranger = listening.certificate("stranger", dns=("alice.example",), mint=Mint("strangers"))
    await listening.start(
        tls(files, client_ca_file=alice["ca_file"], client_names=["alice.example"]), handshake_timeout="300ms"
    )
    reader, writer = await connect(trusting(files, alice))
    writer.write(message("hello", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    for own in (bob, stranger, None):
        reader, writer = await connect(trusting(files, own))
        writer.write(message("no", "c2"))
        assert await ended(reader)
    assert listening.closed_for("unauthenticated") == 1
    assert listening.sink.messages == ["hello"]


async def test_failed_tls_handshakes_are_counted_and_logged(
    listening: Listening, connect: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    await listening.start(tls(listening.certificate("server")), handshake_timeout="200ms")
    with caplog.at_level(logging.WARNING):
        _, plaintext = await connect()
        plaintext.write(message("hello", "c1"))
        await connect()  # says nothing at all
        await eventually(lambda: listening.closed_for("TLS handshake") == 2, "both are counted")
    assert "did not come through their TLS handshake" in caplog.text
    assert listening.sink.batches == []


async def test_a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not(
    listening: Listening, connect: Any
) -> None:
    files = listening.certificate("server")
    await listening.start(tls(files))
    successor = listening.certificate("server", mint=Mint("successor"))
    assert successor["certificate_file"] == files["certificate_file"]
    reader, writer = await connect(trusting(successor))
    writer.write(message("hello", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    write(listening.directory / "server.pem", "no certificate")
    reader, writer = await connect(trusting(successor))
    writer.write(message("again", "c2"))
    assert await ack(reader) == {"ack": "c2"}


async def test_a_listener_with_the_mesh_s_certificate_judges_and_follows_renewals(
    listening: Listening, connect: Any
) -> None:
    listening.credentials = listening.mint.credentials(COLLECTOR)
    await listening.start({"tls": "mesh"})
    reader, writer = await connect(client_context(listening.mint.credentials()))
    writer.write(msgpack.packb(["app", 5, {"message": "no", "namespace": "remora-system"}, {"chunk": "c1"}]))
    assert await ack(reader) == {"ack": "c1"}
    assert listening.sink.messages == []  # not its namespace
    successor = Mint("successor")
    listening.credentials = successor.credentials(COLLECTOR)
    reader, writer = await connect(client_context(successor.credentials()))
    writer.write(message("hello", "c2"))
    assert await ack(reader) == {"ack": "c2"}
    assert listening.sink.batches[-1].sender == "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"


async def test_heartbeats_over_udp_are_answered_byte_for_byte(listening: Listening) -> None:
    await listening.start({"udp_heartbeat": True})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(listening.addresses[0])
        sock.send(b"\0" * 100)
        assert await asyncio.to_thread(sock.recv, 100) == b"\0"


async def test_an_address_that_is_taken_is_named(listening: Listening, tmp_path: Path) -> None:
    await listening.start({})
    host, port = listening.addresses[0]
    another = Listening(tmp_path)
    with pytest.raises(OSError, match=f"cannot listen on {host}:{port}"):
        await another.start({"address": f"{host}:{port}"})
    await another.close()


@pytest.mark.parametrize(
    ("listener", "problem"),
    [
        pytest.param({"address": "0.0.0.0:24224"}, "without TLS", id="plaintext for all the world"),
        pytest.param({"address": "24224"}, "write HOST:PORT", id="no host"),
        pytest.param({"address": "localhost:99999"}, "write HOST:PORT", id="no port of that number"),
        pytest.param({"users": "USERS"}, "without shared_key_file", id="users without a key"),
        pytest.param({"key": "KEY", "users": "BROKEN"}, "line 1 is not user:password", id="a broken users file"),
        pytest.param({"key": "READABLE"}, "chmod 0600", id="a key that others can read"),
        pytest.param({"shared_key": "inline"}, "Extra inputs", id="a key in the settings themselves"),
        pytest.param({"names": ["a.example"]}, "without tls.client_ca_file", id="names that nobody must show"),
    ],
)
def test_settings_that_are_unsafe_or_wrong_are_refused(
    listening: Listening, tmp_path: Path, listener: dict[str, Any], problem: str
) -> None:
    files = {
        "KEY": write(tmp_path / "key", "the key"),
        "USERS": write(tmp_path / "users", "alice:wonder"),
        "BROKEN": write(tmp_path / "broken", "alice"),
        "READABLE": write(tmp_path / "readable", "the key", 0o644),
    }
    described: dict[str, Any] = {"address": "127.0.0.1:0", **listener}
    for word, field in (("key", "shared_key_file"), ("users", "users_file")):
        if word in described:
            described[field] = files[described.pop(word)]
    if "names" in described:
        described.update(tls(listening.certificate("server"), client_names=described.pop("names")))
    with pytest.raises(ValidationError, match=problem) as error:
        Settings.model_validate({"listeners": [described]})
    assert "wonder" not in str(error.value)


def test_what_incomplete_messages_may_take_has_room_for_one() -> None:
    listeners = [{"address": "127.0.0.1:0"}]
    assert Settings.model_validate({"listeners": listeners}).limits().max_pending_bytes == 64 << 20
    large = Settings.model_validate({"listeners": listeners, "max_message_bytes": "256MiB"})
    assert large.limits().max_pending_bytes == 1 << 30
    with pytest.raises(ValidationError, match="max_pending_bytes below max_message_bytes"):
        Settings.model_validate({"listeners": listeners, "max_pending_bytes": "8MiB"})
