"""What a cluster's console may ask, by a token that the API server vouches for."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from control.ca.errors import ProofUnavailable, Unauthenticated
from control.laptop import Laptop
from control.options import Options
from control.plane import Plane
from control.rest.console import REMEMBERED_S, ConsoleDoor
from control.rest.workloads import Addresses
from mesh.clock import SystemClock
from tests.control.ca.conftest import TurnedClock
from tests.control.rest.test_guard import PATHS

CONSOLE = ("remora-system", "remora-collector")
TOKEN = "console.of.ours"
ALLOWED = {
    ("GET", "/v1/resources/all"), ("GET", "/v1/resources/vs/default/a"), ("GET", "/v1/status"), ("GET", "/v1/rules"),
    ("POST", "/v1/analyze"),
}  # fmt: skip
WRITES = {("POST", "/v1/apply"), ("POST", "/v1/delete")}


class ApiServer:
    """Whose tokens are whose, and how often it was asked."""

    def __init__(self) -> None:
        self.accounts = {TOKEN: CONSOLE, "somebody.else.here": ("remora-system", "remora-ingressgateway")}
        self.away = False
        self.asked = 0

    async def account(self, token: str) -> tuple[str, str]:
        self.asked += 1
        if self.away:
            raise ProofUnavailable("the API server is away")
        if token not in self.accounts:
            raise Unauthenticated("the API server does not accept the token")
        return self.accounts[token]


Open = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def door(options: Options, api: ApiServer, clock: TurnedClock) -> Open:
    @asynccontextmanager
    async def opened(token: str = TOKEN, *, may_edit: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        stored = Laptop(options, SystemClock()).stored
        stored = replace(stored, console=ConsoleDoor(api.account, CONSOLE, clock, may_edit=may_edit))
        plane = Plane(options, stored, SystemClock())
        await plane.publisher.start(stored.store.world)
        app = plane.rest_app(Addresses("127.0.0.1:1", "127.0.0.1:2", "https://127.0.0.1:3"))
        headers = {"authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost:3", headers=headers) as client:
            yield client
        stored.store.close()

    return opened


@pytest.mark.parametrize("may_edit", [False, True], ids=["reads", "edits"])
async def test_it_reads_and_analyzes_and_writes_only_where_that_is_wanted(door: Open, may_edit: bool) -> None:
    async with door(may_edit=may_edit) as client:
        for method, path in [*PATHS, ("GET", "/v1/rules"), ("PUT", "/v1/status"), ("GET", "/v1/apply")]:
            answer = await client.request(method, path)
            allowed = (method, path) in ALLOWED or (may_edit and (method, path) in WRITES)
            assert (answer.status_code not in (401, 403)) is allowed, (method, path, answer.text)
        if not may_edit:
            assert "console.editRules" in (await client.post("/v1/apply")).json()["error"]


@pytest.mark.parametrize(
    "token", ["somebody.else.here", "an.unknown.one", "nothing-of-a-jwt", "a.b", "ü.ü.ü".encode().decode("latin-1")]
)
async def test_nobody_else_is_the_console(door: Open, token: str) -> None:
    async with door() as client:
        answer = await client.get("/v1/rules", headers={"authorization": f"Bearer {token}".encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_api_server_is_not_asked_about_what_is_no_token_of_its(door: Open, api: ApiServer) -> None:
    async with door("not-a-jwt") as client:
        await client.get("/v1/rules")
    assert api.asked == 0


async def test_while_the_api_server_is_away_nobody_new_comes_in(door: Open, api: ApiServer, clock: TurnedClock) -> None:
    async with door() as client:
        assert (await client.get("/v1/rules")).status_code == 200
        api.away = True
        assert (await client.get("/v1/rules")).status_code == 200, "it is believed for a while"
        clock.pass_s(REMEMBERED_S)
        answer = await client.get("/v1/rules")
        assert answer.status_code == 503
        assert "the API server is away" in answer.json()["error"]


async def test_a_token_that_is_taken_back_is_refused_soon(door: Open, api: ApiServer, clock: TurnedClock) -> None:
    async with door() as client:
        for _ in range(5):
            assert (await client.get("/v1/rules")).status_code == 200
        assert api.asked == 1
        api.accounts.clear()
        clock.pass_s(REMEMBERED_S)
        assert (await client.get("/v1/rules")).status_code == 401
