"""Calls from one Bookinfo service to another: by service name, through the sidecar that HTTP_PROXY names."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp import web

MAX_ANSWER_BYTES = 1024 * 1024
"""A longer answer counts as none."""


class Calls:
    """A connection pool towards the other services."""

    def __init__(self, proxy: str | None, hosts: Mapping[str, str]) -> None:
        """`proxy` is the sidecar's URL, None to call directly. `hosts` may give a service's other host name."""
        self._proxy = proxy
        self._hosts = hosts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent",),
        )

    async def get_json(
        self, service: str, path: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> tuple[int, Any]:
        """Status and JSON of `http://SERVICE:9080PATH`; the second is None unless the status is 200.

        What can not be reached, or answers with what is no JSON, has status 500.
        """
        url = f"http://{self._hosts.get(service, service)}:9080{path}"
        try:
            async with self._session.get(
                url,
                headers=headers,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await response.content.read(MAX_ANSWER_BYTES + 1)
                if response.status != 200:
                    return response.status, None
                if len(body) > MAX_ANSWER_BYTES or not response.content.at_eof():
                    return 500, None
                return 200, json.loads(body)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 500, None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


CALLS = web.AppKey("calls", Calls)


def attach(app: web.Application, proxy: str | None, hosts: Mapping[str, str]) -> None:
    """Give `app` its Calls while it runs, as `app[CALLS]`."""

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        app[CALLS] = calls = Calls(proxy, hosts)
        yield
        await calls.close()

    app.cleanup_ctx.append(lifetime)
