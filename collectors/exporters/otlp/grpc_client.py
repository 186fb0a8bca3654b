"""OTLP/gRPC. What its statuses mean: https://opentelemetry.io/docs/specs/otlp/#failures."""

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collectors.exporters.http import MAX_RETRY_AFTER_S
from collectors.exporters.otlp.sink import NotTaken
from collectors.exporters.sink import Failed, TooLarge, Unavailable

if TYPE_CHECKING:
    from collectors.exporters.otlp.settings import Settings

_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
_AGAIN = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_MISPLACED = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)
"""The specification has them not come again, for senders that would have to keep the records in memory. Ours are on
disk, nothing is wrong with them, and whoever sets the credentials or the address right finds them delivered."""
_FAILED = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL})
"""gRPC itself says so of a connection that broke in the middle, a server of an error that nobody caught: a record may
be to blame or not."""
_TOO_LARGE = re.compile(r"larger than max|exceeds (the )?maximum|length too large", re.IGNORECASE)
"""What gRPC says of a message (in C++ and Go; Java and .NET; Rust). The code alone says as well that a quota is used
up, or that there are too many calls at once, which halves do not cure."""
_DETAILS = "grpc-status-details-bin"
_MAX_ANSWER_BYTES = 256 * 1024


class GrpcClient:
    """See sink.Client. One channel; after a failure a new one, with credentials and name looked up anew."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._calls = 0
        self._stale = False

    async def export(self, signal: str, body: bytes) -> bytes:
        """See sink.Client."""
        try:
            channel: Any = await self._open()
            metadata = self._metadata()
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read a file of the settings: {error}") from error
        call: Any = channel.unary_unary(_METHODS[signal])
        compression = grpc.Compression.Gzip if self._settings.compression == "gzip" else grpc.Compression.NoCompression
        self._calls += 1
        try:
            answer = await call(body, timeout=self._settings.timeout, metadata=metadata, compression=compression)
            return bytes(answer)
        except grpc.aio.AioRpcError as error:
            self._stale = True
            raise _meaning(self._settings.url, error) from error
        finally:
            self._calls -= 1

    async def close(self) -> None:
        """See sink.Client."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def _open(self) -> grpc.aio.Channel:
        # Not while others have calls on it: closing would cancel them, and their tasks.
        if self._stale and not self._calls:
            await self.close()
        if self._channel is None:
            self._stale = False
            self._channel = self._connect()
        return self._channel

    def _connect(self) -> grpc.aio.Channel:
        settings = self._settings
        parts = urlsplit(settings.url)
        options = [
            ("grpc.enable_retries", 0),  # trying again is the delivery's
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if parts.scheme == "http":
            return grpc.aio.insecure_channel(parts.netloc, options=options)

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        key = None if settings.key_file is None else settings.key_file.read().encode()
        credentials = grpc.ssl_channel_credentials(read(settings.ca_file), key, read(settings.cert_file))
        return grpc.aio.secure_channel(parts.netloc, credentials, options=options)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        settings = self._settings
        pairs = {name.lower(): value for name, value in settings.headers.items()}
        pairs |= {name.lower(): secret.read_header() for name, secret in settings.header_files.items()}
        if settings.bearer_token_file is not None:
            pairs["authorization"] = f"Bearer {settings.bearer_token_file.read_header()}"
        elif settings.username is not None and settings.password_file is not None:
            plain = f"{settings.username}:{settings.password_file.read()}".encode()
            pairs["authorization"] = "Basic " + base64.b64encode(plain).decode("ascii")
        return tuple(pairs.items())


def _meaning(url: str, error: grpc.aio.AioRpcError) -> Exception:
    code = error.code()
    said = f"{url} answered {code.name}: {(error.details() or '')[:200]}"
    wait_s = _retry_after_s(error)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait_s is None and _TOO_LARGE.search(error.details() or ""):
        return TooLarge(said)
    if code in _AGAIN:
        return Unavailable(said, retry_after_s=wait_s)
    if code in _FAILED:
        return Failed(said)
    if code in _MISPLACED:
        return Unavailable(f"{said} (check address and credentials)")
    return NotTaken(said)


def _retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    """The delay of a google.rpc.RetryInfo in the status' details."""
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                    delay_s = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return float(min(max(0.0, delay_s), MAX_RETRY_AFTER_S))
        except DecodeError:
            return None  # a server's mistake; its code still counts
    return None
