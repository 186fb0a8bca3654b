"""The official client as the sink needs it: one request, one answer, errors that say what to do. Trying again is the
delivery's, so the client tries no more than every node once.

The client works with Elasticsearch alone; OpenSearch is asked by the client's own transport, which does not care
(docs/decisions/0027-opensearch-by-the-same-transport.md).
"""

import asyncio
import base64
import logging
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from elastic_transport import (
    ApiResponseMeta,
    ConnectionTimeout,
    NodeConfig,
    SerializationError,
    Serializer,
    TlsError,
    TransportError,
)
from elastic_transport import (
    ConnectionError as NoConnection,
)
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

from collectors.exporters.elasticsearch.bulk import reason
from collectors.exporters.elasticsearch.engine import Engine
from collectors.exporters.http import retry_after_s
from collectors.exporters.sink import TooLarge, Unavailable
from collectors.settings.types import Secret
from mesh.clock import Clock

JSON = "application/json"
NDJSON = "application/x-ndjson"

_PRODUCT = "x-elastic-product"
_NOT_ELASTICSEARCH = (
    "what answers is not Elasticsearch 8 or 9, and the official client works with no other product; if it is"
    " OpenSearch, write `engine: opensearch` (--opensearch for `remora query`)"
)
_GZIP_LEVEL = 1
"""The client's own compression is of level 9 and on the event loop: four times the time for a tenth less."""
_WORTH_COMPRESSING = 1024
"""Bytes."""


class Denied(Exception):
    """Elasticsearch answered the request with a 4xx that trying again does not change."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Unauthorized(Unavailable):
    """401 or 403: nothing is lost, and nothing flows until somebody puts it right."""


class LacksPrivilege(Unauthorized):
    """403: the credentials are right and may not do this."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where Elasticsearch is and how to be let in."""

    urls: tuple[str, ...]
    timeout_s: float
    compress: bool
    connections: int
    """To each node, at once."""
    tls: ssl.SSLContext | None
    engine: Engine = "elasticsearch"
    api_key: Secret | None = None
    user: str = ""
    password: Secret | None = None
    bearer_token: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    header_files: Mapping[str, Secret] = field(default_factory=dict)


class Client:
    """Speaks to the nodes in turn."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._max_retries = len(connection.urls) - 1
        # Their every request is a line at level INFO; what fails is in our own words.
        for name in ("elastic_transport.transport", "elastic_transport.node", "elastic_transport.node_pool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = AsyncElasticsearch(
            [_node(url, connection) for url in connection.urls],
            serializers={each.mimetype: each for each in (_Json(), _Bytes())},
            max_retries=self._max_retries,
            retry_on_status=(),
            retry_on_timeout=False,
            request_timeout=connection.timeout_s,
            # A node that failed is tried again soon: the delivery's own back-off spares it.
            dead_node_backoff_factor=0.5,
            max_dead_node_backoff=10.0,
        )

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None, kind: str = JSON
    ) -> Any:
        """The parsed answer of a 2xx. `body`: bytes, or what is to be JSON; `path` is escaped already.

        Raises Unavailable (Unauthorized on 401, 403), TooLarge, Denied.
        """
        headers = self._headers()
        if body is not None:
            headers["content-type"] = kind
            body = body if isinstance(body, bytes) else orjson.dumps(body)
            if self._connection.compress and len(body) >= _WORTH_COMPRESSING:
                # Off the event loop: zlib lets other threads run.
                body = await asyncio.to_thread(_gzip, body)
                headers["content-encoding"] = "gzip"
        try:
            return await self._ask(method, path, params, headers, body)
        except UnsupportedProductError as error:
            raise Unavailable(_NOT_ELASTICSEARCH) from error
        except ApiError as error:
            raise self._refusal(error.meta, error.body) from error
        except SerializationError as error:
            raise Unavailable("the answer is not JSON: is there a proxy in front of Elasticsearch?") from error
        except ConnectionTimeout as error:
            raise Unavailable(f"no answer within {self._connection.timeout_s:g} s") from error
        except TlsError as error:
            raise Unavailable(f"TLS: {_first(error)}") from error
        except NoConnection as error:
            raise Unavailable(f"no connection: {_first(error)}") from error
        except TransportError as error:
            raise Unavailable(_first(error)) from error

    async def _ask(
        self, method: str, path: str, params: Mapping[str, str] | None, headers: Mapping[str, str], body: Any
    ) -> Any:
        if self._connection.engine == "elasticsearch":
            return (await self._client.perform_request(method, path, params=params, headers=headers, body=body)).body
        meta, answer = await self._client.transport.perform_request(
            method,
            f"{path}?{urlencode(params)}" if params else path,
            headers=headers,
            body=body,
            request_timeout=self._connection.timeout_s,
            max_retries=self._max_retries,
            retry_on_status=(),
            retry_on_timeout=False,
        )
        if _PRODUCT in meta.headers:
            raise Unavailable("what answers is Elasticsearch, not OpenSearch: leave `engine` out")
        if meta.status >= 300:
            raise self._refusal(meta, answer)
        return answer

    async def close(self) -> None:
        """Give up connections."""
        await self._client.close()

    def _headers(self) -> dict[str, str]:
        """Secrets are read anew each time, so that one that was replaced is used at once. Raises Unauthorized."""
        connection = self._connection
        headers = {"accept": JSON, **connection.headers}
        try:
            headers |= {name: secret.read_header() for name, secret in connection.header_files.items()}
            if connection.api_key is not None:
                headers["authorization"] = f"ApiKey {connection.api_key.read_header()}"
            elif connection.bearer_token is not None:
                headers["authorization"] = f"Bearer {connection.bearer_token.read_header()}"
            elif connection.password is not None:
                pair = f"{connection.user}:{connection.password.read()}".encode()
                headers["authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        except (OSError, ValueError) as error:
            raise Unauthorized(f"cannot read a file of the settings: {error}") from error
        return headers

    def _refusal(self, meta: ApiResponseMeta, answer: Any) -> Exception:
        status = meta.status
        body = answer.get("error") if isinstance(answer, dict) else None
        why = reason(status, body if body is not None else answer)
        if status == 406 and self._connection.engine == "elasticsearch" and _PRODUCT not in meta.headers:
            return Unavailable(_NOT_ELASTICSEARCH)  # the client's media types are of Elasticsearch alone
        if status == 413 or (status == 429 and _is_permanent(body)):
            return TooLarge(why)
        if status == 401:
            return Unauthorized(f"Elasticsearch does not take our credentials: {why}")
        if status == 403:
            return LacksPrivilege(f"Elasticsearch does not let us: {why}")
        if status == 429 or status >= 500:
            return Unavailable(why, retry_after_s=retry_after_s(meta.headers.get("retry-after"), self._clock.now()))
        if status == 400 and not isinstance(body, dict | str):
            # Elasticsearch names an error; this is a proxy's, or a port that wants TLS.
            return Unavailable(f"{why}: is this Elasticsearch, and is its address right?")
        return Denied(status, why)


def _is_permanent(error: Any) -> bool:
    """A circuit breaker that this request alone trips: half of it may pass, the same never will."""
    return isinstance(error, dict) and error.get("durability") == "PERMANENT"


def _node(url: str, connection: Connection) -> NodeConfig:
    scheme, _, rest = url.partition("://")
    authority, slash, prefix = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "443" if scheme == "https" else "9200"
    return NodeConfig(
        scheme,
        host.removeprefix("[").removesuffix("]"),
        int(port),
        path_prefix=slash + prefix if prefix else "",
        connections_per_node=connection.connections,
        request_timeout=connection.timeout_s,
        http_compress=False,
        headers={"accept-encoding": "gzip"} if connection.compress else {},
        ssl_context=connection.tls if scheme == "https" else None,
    )


class _Json(Serializer):
    mimetype = JSON

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else orjson.dumps(data)

    def loads(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            # The status counts, whatever a proxy wrote below it. Who wants JSON finds out that it is text.
            return data.decode("utf-8", "replace")


class _Bytes(_Json):
    """Bodies are bytes already, and may be compressed: the client's serializer would add a newline."""

    mimetype = NDJSON


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


def _first(error: TransportError) -> str:
    text = " ".join(str(error.message).split())
    return text[:300]
