"""The interface for filters that users write in Python: the one module of Remora that their code imports.

Version 1. What is here, and what `Request`, `Response` and `Headers` show without a leading underscore, stays; a
version that takes something away has another number. docs/filters.md says how a filter is installed and what bounds it.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

from sidecar.filters.python_headers import Headers
from sidecar.filters.python_messages import LocalReply, Request, Response

API_VERSION = 1

__all__ = ["API_VERSION", "Filter", "Headers", "LocalReply", "Request", "Response"]

Answer = LocalReply | None | Awaitable[LocalReply | None]
"""What a hook returns: None to go on, a LocalReply to answer instead. A hook may be `async def`."""


class Filter:
    """Derive from it and define the hooks that are needed: the others cost nothing.

    There is one instance in each worker process; all its requests share it, so what belongs to one request goes into
    `request.metadata`. A hook that is not `async def` must not block: the whole proxy waits for it.
    """

    api_version: int = API_VERSION
    """The version of this interface that the filter was written for."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the rule's `spec.config`. What this raises makes the sidecar refuse the configuration."""
        self.config = config

    def on_request(self, request: Request) -> Answer:
        """The request's head has come and its route is known."""
        return None

    def on_request_body(self, request: Request, body: bytes) -> Answer:
        """The whole body has come (empty where there is none); the request waited for it. `request.set_body` replaces
        it. Bodies longer than `maxBodyBytes` are the failure policy's."""
        return None

    def on_response(self, request: Request, response: Response) -> Answer:
        """The answer's head is about to leave. A LocalReply takes the place of an upstream's answer; of replies (of the
        proxy's own, or of filters) this is told as well, unless it is `async def` or there is `on_response_body`."""
        return None

    def on_response_body(self, request: Request, response: Response, body: bytes) -> Answer:
        """The upstream's whole answer has come; it waits. `response.set_body` replaces the body."""
        return None

    def close(self) -> None:
        """The last request has left this instance; another may have taken its place."""
