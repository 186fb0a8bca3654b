"""The details service: facts about a book."""

from aiohttp import web


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "Details is healthy"})


async def _details(request: web.Request) -> web.Response:
    try:
        book = int(request.match_info["id"])
    except ValueError:
        return web.json_response({"error": "please provide numeric product id"}, status=400)
    return web.json_response(
        {
            "id": book,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }
    )


def application() -> web.Application:
    """GET /details/ID and /health."""
    app = web.Application()
    app.router.add_get("/health", _health)
    app.router.add_get("/details/{id}", _details)
    return app
