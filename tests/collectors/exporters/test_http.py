"""Settings of exporters that post, and what a status means."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from collectors.exporters.http import HttpBackend, HttpSettings, describe, retry_after_s
from collectors.exporters.sink import TooLarge, Unavailable
from tests.collectors.authority import Mint
from tests.collectors.build import NOW, FakeClock
from tests.collectors.exporters.spans import HttpAnswers


def settings(**said: Any) -> HttpSettings:
    return HttpSettings.model_validate({"url": "http://127.0.0.1:1", **said})


def secret(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return str(path)


@pytest.fixture
async def server() -> AsyncIterator[HttpAnswers]:
    async with HttpAnswers() as server:
        yield server


async def post(server: HttpAnswers, body: bytes = b"body", **said: Any) -> tuple[int, bytes]:
    backend = HttpBackend(settings(url=server.url, **said), FakeClock())
    try:
        return await backend.post("/in", body, "application/json")
    finally:
        await backend.close()


async def test_a_body_arrives_compressed_with_credentials_and_headers(server: HttpAnswers, tmp_path: Path) -> None:
    server.otherwise = (202, b"taken")
    token = secret(tmp_path / "token", "t0ken\n")
    key = secret(tmp_path / "key", "k3y")
    said = {"bearer_token_file": token, "headers": {"X-Scope-OrgID": "one"}, "header_files": {"x-api-key": key}}
    assert await post(server, b"body" * 100, **said) == (202, b"taken")
    ((path, headers, body),) = server.requests
    assert (path, gzip.decompress(body)) == ("/in", b"body" * 100)
    assert (headers["content-type"], headers["content-encoding"]) == ("application/json", "gzip")
    assert (headers["authorization"], headers["x-api-key"], headers["x-scope-orgid"]) == ("Bearer t0ken", "k3y", "one")


async def test_a_token_that_is_replaced_is_used_at_once_and_uncompressed_is_uncompressed(
    server: HttpAnswers, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    backend = HttpBackend(
        settings(url=server.url, compression="none", bearer_token_file=secret(path, "first")), FakeClock()
    )
    await backend.post("/", b"a", "text/plain")
    secret(path, "second")
    await backend.post("/", b"b", "text/plain")
    path.unlink()
    with pytest.raises(Unavailable, match="cannot read a file"):
        await backend.post("/", b"c", "text/plain")
    await backend.close()
    assert [headers["authorization"] for _, headers, _ in server.requests] == ["Bearer first", "Bearer second"]
    assert [body for _, _, body in server.requests] == [b"a", b"b"]


@pytest.mark.parametrize("text", ["s3cret ", " s3cret", "s3\ncret", "s3cret\x7f", "s3cr\u00e9t"])
@pytest.mark.parametrize("field", ["bearer_token_file", "header_files"])
async def test_a_secret_that_no_header_can_hold_is_waited_for_and_not_shown(
    server: HttpAnswers, tmp_path: Path, text: str, field: str
) -> None:
    path = tmp_path / "secret"
    value: Any = secret(path, "fine")
    model = settings(url=server.url, **{field: {"x-api-key": value} if field == "header_files" else value})
    secret(path, text)
    backend = HttpBackend(model, FakeClock())
    with pytest.raises(Unavailable, match=r"secret has something that no header can hold") as caught:
        await backend.post("/", b"a", "text/plain")
    assert "s3" not in str(caught.value)
    secret(path, "s3cret\r\n")
    assert (await backend.post("/", b"a", "text/plain"))[0] == 200
    await backend.close()


@pytest.mark.parametrize("field", ["bearer_token_file", "header_files"])
def test_a_secret_that_no_header_can_hold_is_a_mistake_in_the_settings(tmp_path: Path, field: str) -> None:
    path = secret(tmp_path / "secret", "s3cret ")
    with pytest.raises(ValidationError, match="no header can hold") as caught:
        settings(**{field: {"x-api-key": path} if field == "header_files" else path})
    assert "s3cret" not in str(caught.value)


def test_what_the_client_says_of_a_request_that_it_cannot_make_is_not_repeated() -> None:
    assert describe(httpx.LocalProtocolError("Illegal header value b'Bearer s3cret '")) == "LocalProtocolError"


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_back_ends_are_waited_for_as_they_ask(server: HttpAnswers, status: int) -> None:
    server.next = [(status, b"slow\ndown\x1b[0m", {"retry-after": "7"}), (status, b"", {})]
    with pytest.raises(Unavailable, match=rf"{status}: slow down \[0m") as caught:
        await post(server)
    assert caught.value.retry_after_s == 7
    with pytest.raises(Unavailable) as caught:
        await post(server)
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_mistake_in_the_settings_loses_nothing_and_says_what_to_look_at(
    server: HttpAnswers, status: int
) -> None:
    server.next = [(status, b"no", {})]
    with pytest.raises(Unavailable, match=f"{status}: no .check address and credentials."):
        await post(server)


@pytest.mark.parametrize("status", [406, 410, 411, 414, 418, 426, 431, 451])
async def test_what_says_nothing_of_the_records_does_not_refuse_them(server: HttpAnswers, status: int) -> None:
    server.next = [(status, b"no", {})]
    with pytest.raises(Unavailable, match=f"answered {status}: no"):
        await post(server)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"The plain HTTP request was sent to HTTPS port", "text/plain"),
        (b"Client sent an HTTP request to an HTTPS server.\n", "text/plain; charset=utf-8"),
        (b"<html><title>400 Request Header Or Cookie Too Large</title></html>", "Text/HTML; charset=utf-8"),
    ],
)
async def test_a_400_of_whoever_is_in_front_of_the_back_end_refuses_nothing(
    server: HttpAnswers, answer: bytes, kind: str
) -> None:
    server.next = [(400, answer, {"content-type": kind})]
    with pytest.raises(Unavailable, match="answered 400"):
        await post(server)


@pytest.mark.parametrize("status", [400, 409, 415, 422])
async def test_what_may_be_the_records_fault_is_for_the_exporter(server: HttpAnswers, status: int) -> None:
    server.next = [(status, b"bad span", {})]
    assert await post(server) == (status, b"bad span")


async def test_too_large_a_body_and_a_redirect_are_told_apart(server: HttpAnswers) -> None:
    server.next = [(413, b"", {}), (301, b"", {"location": "http://elsewhere/"}), (400, b"bad span", {})]
    with pytest.raises(TooLarge):
        await post(server)
    with pytest.raises(Unavailable, match="redirects to http://elsewhere/"):
        await post(server)
    assert await post(server) == (400, b"bad span")


async def test_an_endless_or_slow_answer_is_bounded(server: HttpAnswers) -> None:
    server.next = [(200, bytes(1 << 20), {})]
    status, answer = await post(server)
    assert (status, len(answer)) == (200, 256 * 1024)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    backend = HttpBackend(settings(url=f"http://127.0.0.1:{port}", timeout="150ms"), FakeClock())
    with pytest.raises(Unavailable, match="no answer in time"):
        await backend.post("/", b"x", "text/plain")
    await backend.close()
    listener.close()
    await listener.wait_closed()


async def test_nobody_listening_is_unavailable() -> None:
    backend = HttpBackend(settings(url="http://127.0.0.1:1"), FakeClock())
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/x: "):
        await backend.post("/x", b"x", "text/plain")
    await backend.close()


async def test_the_back_end_s_certificate_is_checked_and_ours_shown(tmp_path: Path) -> None:
    mint, stranger = Mint(), Mint("stranger")
    server_side = mint.credentials(uris=(), dns=("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        secret(tmp_path / "s.pem", server_side.chain_pem), secret(tmp_path / "s.key", server_side.key_pem)
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=mint.credentials().roots_pem.decode())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{listener.sockets[0].getsockname()[1]}"
    ours = mint.credentials()
    files = {
        "cert_file": secret(tmp_path / "c.pem", ours.chain_pem),
        "key_file": secret(tmp_path / "c.key", ours.key_pem),
        "compression": "none",
    }
    for authority, fine in ((mint, True), (stranger, False)):
        roots = secret(tmp_path / "roots.pem", authority.credentials().roots_pem)
        backend = HttpBackend(settings(url=url, ca_file=roots, **files), FakeClock())
        if fine:
            assert await backend.post("/", b"", "text/plain") == (204, b"")
        else:
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await backend.post("/", b"", "text/plain")
        await backend.close()
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("999999", 3600.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, NOW) == seconds


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"url": "zipkin:9411"}, "is no URL of HTTP"),
        ({"url": "ftp://host"}, "is no URL of HTTP"),
        ({"url": "http://host:99999"}, "is no URL"),
        ({"url": "http://user:pw@host"}, "has a user or password"),
        ({"url": "http://host/?a=b"}, "has a query"),
        ({"headers": {"a b": "c"}}, "no header's name"),
        ({"headers": {"Authorization": "Bearer x"}}, "header_files"),
        ({"headers": {"x-api-key": "x"}}, "header_files"),
        ({"headers": {"x": "a\r\nb: c"}}, "not printable"),
        ({"headers": {"Host": "x"}}, "sets itself"),
        ({"username": "u"}, "one of username and password_file"),
        ({"bearer_token_file": "/nowhere"}, "cannot be read"),
        ({"timeout": "1000h"}, "timeout"),
        ({"password": "hunter2"}, "password"),
    ],
)
def test_settings_that_are_wrong_say_so(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        settings(**said)
    assert "hunter2" not in str(caught.value)


def test_credentials_never_cross_a_network_in_plaintext(tmp_path: Path) -> None:
    token = secret(tmp_path / "token", "t")
    with pytest.raises(ValidationError, match=r"would send credentials to zipkin\.example without TLS"):
        settings(url="http://zipkin.example:9411", bearer_token_file=token)
    for url in ("https://zipkin.example:9411", "http://127.0.0.1:9411", "http://localhost:9411", "http://[::1]:9411"):
        assert settings(url=url, bearer_token_file=token).has_credentials
