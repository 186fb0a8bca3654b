"""One scrape: GET, as Prometheus does it."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import h11

from collectors.receivers.targets import Target, split_address

MAX_BODY_BYTES = 16 * 1024 * 1024
_ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class ScrapeFailed(Exception):
    """The target did not answer with metrics."""


@dataclass(frozen=True, slots=True)
class Access:
    """How targets let us in."""

    context: Callable[[], ssl.SSLContext] | None = None
    """For targets of scheme https; called for each connection, so that new trust is taken."""
    server_name: str | None = None
    """In certificates of scheme https; None: the target's address."""
    token: Callable[[], str] | None = None
    """A bearer token; read for each scrape. Raises OSError, ValueError."""


async def fetch(target: Target, *, timeout_s: float, access: Access | None = None) -> str:
    """GET the target's metrics. No redirects, no proxies. Raises ScrapeFailed."""
    host, port = split_address(target.address)
    access = access or Access()
    try:
        context = _context(target, access)
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=None if context is None else access.server_name or host
            )
            try:
                return await _exchange(reader, writer, target, access)
            finally:
                writer.close()
    except TimeoutError as error:
        raise ScrapeFailed(f"no answer within {timeout_s:g} s") from error
    except (
        OSError,
        h11.RemoteProtocolError,
        ValueError,
    ) as error:  # ssl's errors are of OSError, Unicode's of ValueError
        raise ScrapeFailed(str(error) or type(error).__name__) from error


def _context(target: Target, access: Access) -> ssl.SSLContext | None:
    if target.scheme == "http":
        return None
    return ssl.create_default_context() if access.context is None else access.context()


def _authority(target: Target, access: Access) -> str:
    if target.scheme == "http" or access.server_name is None:
        return target.address
    return f"{access.server_name}:{split_address(target.address)[1]}"


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, access: Access) -> str:
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("host", _authority(target, access)),
        ("accept", _ACCEPT),
        ("connection", "close"),
        ("user-agent", "remora"),
    ]
    if access.token is not None:
        headers.append(("authorization", f"Bearer {access.token()}"))
    request = connection.send(h11.Request(method="GET", target=target.path, headers=headers))
    writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise ScrapeFailed(f"answered {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise ScrapeFailed(f"more than {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return body.decode("utf-8")
        else:
            raise ScrapeFailed("the connection ended early")
