"""What is answered where no page is: the frame, so that one finds back."""

from fastapi import Request, Response
from fastapi.exception_handlers import http_exception_handler
from nicegui import Client, app, ui
from starlette.exceptions import HTTPException

from dashboards.console.console import Console
from dashboards.console.parts import empty_state
from dashboards.console.shell import frame


def register(console: Console) -> None:
    """Answer 404s of addresses that a person could have typed."""

    @app.exception_handler(404)
    async def missing(request: Request, error: HTTPException) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/_nicegui")
        if not wants_page:
            return await http_exception_handler(request, error)
        with Client(ui.page(""), request=request) as client:
            with frame(console, "Not found"):
                empty_state(
                    "explore_off", "There is no such page", "The address may be mistyped, or of another version."
                )
            return client.build_response(request, 404)
