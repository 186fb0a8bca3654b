"""The ratings service: stars by reviewer, changeable, kept in memory."""

import json
from typing import Any

from aiohttp import web

MAX_BOOKS = 1000
"""Books whose ratings can be set; setting another is refused."""

_STORED = web.AppKey("stored", dict[int, Any])


def _book(request: web.Request) -> int:
    try:
        return int(request.match_info["id"])
    except ValueError:
        body = json.dumps({"error": "please provide numeric product ID"})
        raise web.HTTPBadRequest(text=body, content_type="application/json") from None


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "Ratings is healthy"})


async def _get(request: web.Request) -> web.Response:
    book = _book(request)
    ratings = request.app[_STORED].get(book, {"Reviewer1": 5, "Reviewer2": 4})
    return web.json_response({"id": book, "ratings": ratings})


async def _post(request: web.Request) -> web.Response:
    book = _book(request)
    stored = request.app[_STORED]
    try:
        ratings = json.loads(await request.text())
    except ValueError:
        return web.json_response({"error": "please provide valid ratings JSON"}, status=400)
    if book not in stored and len(stored) >= MAX_BOOKS:
        return web.json_response({"error": "too many books have ratings of their own"}, status=507)
    stored[book] = ratings
    return web.json_response({"id": book, "ratings": ratings})


def application() -> web.Application:
    """GET and POST /ratings/ID, GET /health."""
    app = web.Application(client_max_size=64 * 1024)
    app[_STORED] = {}
    app.router.add_get("/health", _health)
    app.router.add_get("/ratings/{id}", _get)
    app.router.add_post("/ratings/{id}", _post)
    return app
