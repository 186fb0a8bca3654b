"""What a test asks the fake API server, by HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.kubernetes.api_server import FakeApiServer

PODS = "/api/v1/namespaces/default/pods"
RULES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Client:
    """Requests as JSON in, (status, JSON) out."""

    def __init__(self, server: FakeApiServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: str = "application/json",
        token: str = "admin",
        accept: str = "application/json",
        **query: str,
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": form, "Accept": accept}
        data = orjson.dumps(body) if body is not None else None
        url = self.server.url + path
        async with self.session.request(method, url, data=data, params=query, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    @asynccontextmanager
    async def watch(self, path: str, *, accept: str = "application/json", **query: str) -> AsyncIterator[Any]:
        headers = {"Authorization": "Bearer admin", "Accept": accept}
        params = {"watch": "1", **query}
        async with self.session.get(self.server.url + path, params=params, headers=headers) as response:

            async def event() -> Any:
                line = await response.content.readline()
                return orjson.loads(line) if line else None

            yield event
