"""The productpage service: the page that people see, and a small API, made of what the other three answer."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from aiohttp import web
from itsdangerous import BadSignature, URLSafeSerializer

from remora.samples.bookinfo import calls
from remora.samples.bookinfo.headers import SESSION_HEADERS, pass_on

PATIENCE_S = 3.0
"""How long one call may take."""

REVIEWS_ATTEMPTS = 2
"""As the public sample does, to show what an application's own retries do to a mesh's."""

_COOKIE = "session"
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_PRODUCTS: tuple[dict[str, Any], ...] = (
    {
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": '<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">The Comedy of Errors</a> is'
        " one of <b>William Shakespeare's</b> early plays: his shortest, and a farce of two pairs of twins, mistaken"
        " for each other until the last scene.",
    },
)

_SESSIONS = web.AppKey("sessions", URLSafeSerializer)
_PAGES = web.AppKey("pages", jinja2.Environment)


def _user(request: web.Request) -> str | None:
    cookie = request.cookies.get(_COOKIE)
    if cookie is None:
        return None
    try:
        user = request.app[_SESSIONS].loads(cookie)
    except BadSignature:
        return None
    return user if isinstance(user, str) and _USER.match(user) else None


def _passed_on(request: web.Request) -> dict[str, str]:
    headers = pass_on(request.headers, *SESSION_HEADERS)
    user = _user(request)
    if user is not None:
        headers["end-user"] = user
    return headers


async def _details(request: web.Request, book: str) -> tuple[int, Any]:
    status, answer = await request.app[calls.CALLS].get_json(
        "details", f"/details/{book}", _passed_on(request), timeout_s=PATIENCE_S
    )
    if answer is None:
        return status, {"error": "Sorry, product details are currently unavailable for this book."}
    return status, answer


async def _reviews(request: web.Request, book: str) -> tuple[int, Any]:
    status = 500
    for _ in range(REVIEWS_ATTEMPTS):
        status, answer = await request.app[calls.CALLS].get_json(
            "reviews", f"/reviews/{book}", _passed_on(request), timeout_s=PATIENCE_S
        )
        if answer is not None:
            return status, answer
    return status, {"error": "Sorry, product reviews are currently unavailable for this book."}


async def _ratings(request: web.Request, book: str) -> tuple[int, Any]:
    status, answer = await request.app[calls.CALLS].get_json(
        "ratings", f"/ratings/{book}", _passed_on(request), timeout_s=PATIENCE_S
    )
    if answer is None:
        return status, {"error": "Sorry, product ratings are currently unavailable for this book."}
    return status, answer


def _page(request: web.Request, name: str, **values: Any) -> web.Response:
    text = request.app[_PAGES].get_template(name).render(user=_user(request), **values)
    return web.Response(text=text, content_type="text/html", headers={"cache-control": "no-store"})


async def _index(request: web.Request) -> web.Response:
    return _page(request, "index.html", products=_PRODUCTS)


async def _front(request: web.Request) -> web.Response:
    # The page is there whatever fails behind it: each part says for itself what it lacks.
    (details_status, details), (reviews_status, reviews) = await asyncio.gather(
        _details(request, "0"), _reviews(request, "0")
    )
    return _page(
        request,
        "productpage.html",
        product=_PRODUCTS[0],
        details=details,
        details_status=details_status,
        reviews=reviews,
        reviews_status=reviews_status,
    )


async def _login(request: web.Request) -> web.Response:
    user = (await request.post()).get("username")
    if not isinstance(user, str) or not _USER.match(user):
        return web.Response(status=400, text="A user name has 1 to 64 letters, digits, dots, dashes or @.\n")
    response = web.Response(status=302, headers={"location": "/productpage"})
    response.set_cookie(_COOKIE, request.app[_SESSIONS].dumps(user), httponly=True, samesite="Lax")
    return response


async def _logout(_: web.Request) -> web.Response:
    response = web.Response(status=302, headers={"location": "/productpage"})
    response.del_cookie(_COOKIE)
    return response


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="Product page is healthy")


async def _products(_: web.Request) -> web.Response:
    return web.json_response(list(_PRODUCTS))


async def _product(request: web.Request) -> web.Response:
    status, answer = await _details(request, quote(request.match_info["id"], safe=""))
    return web.json_response(answer, status=status)


async def _product_reviews(request: web.Request) -> web.Response:
    status, answer = await _reviews(request, quote(request.match_info["id"], safe=""))
    return web.json_response(answer, status=status)


async def _product_ratings(request: web.Request) -> web.Response:
    status, answer = await _ratings(request, quote(request.match_info["id"], safe=""))
    return web.json_response(answer, status=status)


def application(secret: str, proxy: str | None, hosts: Mapping[str, str]) -> web.Application:
    """The page, sign-in and sign-out, and /api/v1/products. `secret` signs the session cookies."""
    app = web.Application(client_max_size=16 * 1024)
    app[_SESSIONS] = URLSafeSerializer(secret, salt="bookinfo-session")
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "pages")
    app[_PAGES] = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    calls.attach(app, proxy, hosts)
    app.router.add_get("/", _index)
    app.router.add_get("/index.html", _index)
    app.router.add_get("/productpage", _front)
    app.router.add_post("/login", _login)
    app.router.add_get("/logout", _logout)
    app.router.add_get("/health", _health)
    app.router.add_get("/api/v1/products", _products)
    app.router.add_get("/api/v1/products/{id}", _product)
    app.router.add_get("/api/v1/products/{id}/reviews", _product_reviews)
    app.router.add_get("/api/v1/products/{id}/ratings", _product_ratings)
    return app
