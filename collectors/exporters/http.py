"""Posting to a back end over HTTP: settings that such exporters share, and what a status means to the delivery. What is
in a body, and what a refusal of it means, is the exporter's."""

import asyncio
import email.utils
import gzip
import re
import ssl
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, field_validator, model_validator

from collectors.exporters.sink import TooLarge, Unavailable
from collectors.settings.buffers import ExporterSettings
from collectors.settings.types import Duration, ReadableFile, Secret, SecretFile, wrong
from mesh.addresses import is_loopback
from mesh.clock import Clock

MAX_ANSWER_BYTES = 256 * 1024
"""Of an answer's body; the rest is not read, and the connection not used again."""
MAX_RETRY_AFTER_S = 3600.0
_COMPRESS_IN_THREAD_BYTES = 64 * 1024
_BUSY = frozenset((408, 425, 429, 502, 503, 504))
_MISPLACED = frozenset((401, 402, 403, 404, 405, 407, 421))
"""A mistake in the settings, or at the back end: nothing is wrong with the records, which wait until it is mended."""
_OF_THE_BODY = frozenset((400, 409, 415, 422))
"""What of 4xx may be the records' fault; 409: so Thanos says that samples are out of order. The others (406, 410, 426,
431, 451) are a proxy's, or a mistake in the settings."""
_OF_THE_CONNECTION = re.compile(rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server", re.IGNORECASE)
"""With 400: nginx and Go's servers to one who speaks without TLS to a port with it."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SECRET_HEADERS = re.compile(r"authorization|cookie|token|secret|password|api[-_]?key", re.IGNORECASE)
_OWN_HEADERS = frozenset(
    ("content-type", "content-encoding", "content-length", "host", "transfer-encoding", "connection")
)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong("is no URL; write https://HOST:PORT/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise wrong("is no URL of HTTP; write http://HOST:PORT/PATH or https://HOST:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise wrong("has a user or password in it; name them in username and password_file")
    if parts.query or parts.fragment:
        raise wrong("has a query or a fragment; write the address alone")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]
"""Of HTTP, without credentials and without a slash at its end."""


def refuse_what_no_header_can_hold(secret: Secret | None) -> None:
    """For settings: raises for a file whose text cannot be a header's value."""
    try:
        if secret is not None:
            secret.read_header()
    except (OSError, ValueError) as error:
        raise wrong(f"is refused: {error}") from error


class ClientSettings(ExporterSettings):
    """How an exporter reaches its back end, whatever it speaks."""

    timeout: Duration = Field(default=10.0, ge=0.1, le=300.0)
    """For one request, answer included."""
    compression: Literal["gzip", "none"] = "gzip"
    """Of requests."""
    ca_file: ReadableFile | None = None
    """Authorities that may sign the back end's certificate, PEM. Default: those that the system trusts."""
    cert_file: ReadableFile | None = None
    """A certificate to show, with its chain, PEM."""
    key_file: SecretFile | None = None
    """The certificate's key, PEM, without a passphrase, mode 0600."""
    username: str | None = Field(default=None, min_length=1)
    """For HTTP's basic authentication (gRPC: the same as metadata)."""
    password_file: SecretFile | None = None
    """The password that belongs to it."""
    bearer_token_file: SecretFile | None = None
    """Read for every request: a token that is replaced in time is taken without a restart."""
    headers: dict[str, str] = Field(default={}, max_length=32)
    """Added to each request. Secrets belong in `header_files`."""
    header_files: dict[str, SecretFile] = Field(default={}, max_length=32)
    """Header by name to the file that holds its value, e.g. `x-api-key: /run/secrets/key`."""

    @field_validator("headers", "header_files")
    @classmethod
    def _names(cls, value: dict[str, object]) -> dict[str, object]:
        for name, one in value.items():
            if not _TOKEN.fullmatch(name):
                raise wrong(f"has {name!r}, which is no header's name (RFC 9110 section 5.1)")
            if name.lower() in _OWN_HEADERS:
                raise wrong(f"has {name}, which the exporter sets itself; leave it out")
            if isinstance(one, str) and not (one.isascii() and one.isprintable()):
                raise wrong(f"has a value of {name} that is not printable ASCII")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise wrong("has one of cert_file and key_file; write both or neither")
        if (self.username is None) != (self.password_file is None):
            raise wrong("has one of username and password_file; write both or neither")
        if self.username is not None and self.bearer_token_file is not None:
            raise wrong("has a password and a bearer token; write one of them")
        for secret in (self.bearer_token_file, *self.header_files.values()):
            refuse_what_no_header_can_hold(secret)
        for name in self.headers:
            if _SECRET_HEADERS.search(name):
                raise wrong(f"has {name} in headers, where everyone who reads this file sees it; use header_files")
        return self

    @property
    def has_credentials(self) -> bool:
        """Whether a request carries a secret."""
        return bool(self.password_file or self.bearer_token_file or self.header_files)

    def refuse_plaintext_secrets(self, host: str) -> None:
        """Raises for credentials that would cross a network unencrypted."""
        if self.has_credentials and not is_loopback(host):
            raise wrong(f"would send credentials to {host} without TLS; use TLS, or leave the credentials out")


class HttpSettings(ClientSettings):
    """Of an exporter that posts."""

    url: Url
    """The back end's address; credentials have fields of their own."""

    @model_validator(mode="after")
    def _private(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http":
            self.refuse_plaintext_secrets(parts.hostname or "")
        return self


class HttpBackend:
    """Posts bodies to one back end."""

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._calls = 0
        self._stale = False

    async def post(
        self, path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status, when it is 2xx or one that speaks about this body (400, 409, 415, 422, and 5xx but those of a
        busy back end), and the beginning of the answer. `headers` are the exporter's own; a body whose
        `content-encoding` is among them is compressed already. Raises Unavailable and TooLarge for other statuses, as
        sink says."""
        settings = self._settings
        url = settings.url + path
        try:
            headers = {**settings.headers, **(headers or {}), "content-type": content_type}
            headers |= {name: secret.read_header() for name, secret in settings.header_files.items()}
            if settings.bearer_token_file is not None:
                headers["authorization"] = f"Bearer {settings.bearer_token_file.read_header()}"
            auth = None
            if settings.username is not None and settings.password_file is not None:
                auth = httpx.BasicAuth(settings.username, settings.password_file.read())
            client = await self._open()
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read a file of the settings: {error}") from error
        if settings.compression == "gzip" and "content-encoding" not in headers:
            body = await compress(body)
            headers["content-encoding"] = "gzip"
        self._calls += 1
        try:
            # httpx bounds each step; a server that sends a byte now and then is bounded here.
            async with asyncio.timeout(settings.timeout):
                async with client.stream("POST", url, content=body, headers=headers, auth=auth) as response:
                    answer = await _beginning(response)
        except (httpx.HTTPError, TimeoutError) as error:
            self._stale = True
            raise Unavailable(f"{url}: {describe(error)}") from error
        finally:
            self._calls -= 1
        return self._judge(url, response, answer)

    def _judge(self, url: str, response: httpx.Response, answer: bytes) -> tuple[int, bytes]:
        status = response.status_code
        if status == 413:
            raise TooLarge(f"{url} answered 413")
        said = f"{url} answered {status}: {excerpt(answer)}"
        if status in _BUSY:
            raise Unavailable(said, retry_after_s=retry_after_s(response.headers.get("retry-after"), self._clock.now()))
        if status in _MISPLACED or (400 <= status < 500 and not _is_of_the_body(response, answer)):
            raise Unavailable(f"{said} (check address and credentials)")
        if 300 <= status < 400:
            raise Unavailable(f"{url} redirects to {response.headers.get('location', '')[:200]}: write that address")
        return status, answer

    async def _open(self) -> httpx.AsyncClient:
        # After a failure anew, so that certificates which were replaced meanwhile are read.
        if self._stale and not self._calls:
            await self.close()
        if self._client is None:
            self._stale = False
            self._client = self._connect()
        return self._client

    def _connect(self) -> httpx.AsyncClient:
        settings = self._settings
        return httpx.AsyncClient(
            verify=tls_context(settings) if settings.url.startswith("https:") else False,
            timeout=settings.timeout,
            # A proxy from the environment would be a back end that nobody configured.
            trust_env=False,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=30.0),
        )

    async def close(self) -> None:
        """Give up connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _is_of_the_body(response: httpx.Response, answer: bytes) -> bool:
    """Whether a 4xx may say something of the records. A page of HTML is a proxy's: no back end writes one."""
    if response.status_code not in _OF_THE_BODY:
        return False
    is_page = response.headers.get("content-type", "").lower().startswith("text/html")
    return not (response.status_code == 400 and (is_page or _OF_THE_CONNECTION.search(answer)))


async def _beginning(response: httpx.Response) -> bytes:
    answer = bytearray()
    async for piece in response.aiter_bytes():
        answer += piece
        if len(answer) >= MAX_ANSWER_BYTES:
            break
    return bytes(answer[:MAX_ANSWER_BYTES])


def tls_context(settings: ClientSettings) -> ssl.SSLContext:
    """As the settings say; TLS 1.2 at least. Raises OSError (ssl.SSLError is one) for files that are none."""
    context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None and settings.key_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file.path)
    return context


async def compress(body: bytes) -> bytes:
    """Gzip; a large body in a thread, so that the loop goes on."""
    if len(body) < _COMPRESS_IN_THREAD_BYTES:
        return gzip.compress(body, compresslevel=3)
    return await asyncio.to_thread(gzip.compress, body, 3)


def retry_after_s(value: str | None, now: float) -> float | None:
    """Retry-After (RFC 9110 section 10.2.3): seconds, or a date; None for neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal() and value.isascii():
        return min(float(value[:10]), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - now), MAX_RETRY_AFTER_S)


def excerpt(answer: bytes) -> str:
    """The beginning of an answer, fit for a log line."""
    text = answer[:300].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def describe(error: BaseException) -> str:
    """A transport's error; httpx's time-outs have no text."""
    if isinstance(error, httpx.LocalProtocolError):
        return type(error).__name__  # its text has what we were about to send
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"no answer in time ({type(error).__name__})"
    return str(error) or type(error).__name__
