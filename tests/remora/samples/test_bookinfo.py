"""The sample applications answer in the public sample's shapes, and fail as it fails."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from remora.samples.bookinfo import details, productpage, ratings, reviews
from remora.samples.bookinfo.headers import TRACE_HEADERS

Start = Callable[[web.Application], Awaitable[TestClient[Any, Any]]]

BLACK = reviews.Version(pod="reviews-v2", stars=True, color="black")
RED = reviews.Version(pod="reviews-v3", stars=True, color="red")
CONTEXT = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "x-request-id": "11111111-2222-3333-4444-555555555555",
    "x-b3-traceid": "0af7651916cd43dd8448eb211c80319c",
}


class FakeMesh:
    """Stands for the sidecar that HTTP_PROXY names: takes requests by service name and keeps what it saw."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "details": (200, {"id": 0, "author": "William Shakespeare", "year": 1595}),
            "reviews": (200, {"id": "0", "podname": "reviews-v3", "reviews": [{"reviewer": "R", "text": "<b>so</b>"}]}),
            "ratings": (200, {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}),
        }
        self.seen: list[tuple[str, dict[str, str]]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((str(request.url), {name.lower(): value for name, value in request.headers.items()}))
        status, body = self.answers[request.url.host or ""]
        return web.json_response(body, status=status)

    def headers_of(self, service: str) -> dict[str, str]:
        return next(headers for url, headers in self.seen if url.startswith(f"http://{service}:9080/"))


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(app: web.Application) -> TestClient[Any, Any]:
            return await stack.enter_async_context(TestClient(TestServer(app)))

        yield begin


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


@pytest.fixture
async def proxy(mesh: FakeMesh, start: Start) -> str:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", mesh.handle)
    return str((await start(app)).make_url("/"))


async def test_details_has_the_public_samples_fields(start: Start) -> None:
    client = await start(details.application())
    answer = await (await client.get("/details/0")).json()
    assert answer == {
        "id": 0,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    }
    refused = await client.get("/details/zero")
    assert (refused.status, await refused.json()) == (400, {"error": "please provide numeric product id"})


async def test_ratings_can_be_read_and_set(start: Start) -> None:
    client = await start(ratings.application())
    assert await (await client.get("/ratings/0")).json() == {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    await client.post("/ratings/0", data='{"Reviewer1": 1}')
    assert await (await client.get("/ratings/0")).json() == {"id": 0, "ratings": {"Reviewer1": 1}}
    assert (await client.post("/ratings/0", data="{")).status == 400
    assert (await client.get("/ratings/zero")).status == 400


async def test_ratings_memory_is_bounded(start: Start) -> None:
    client = await start(ratings.application())
    for book in range(ratings.MAX_BOOKS):
        assert (await client.post(f"/ratings/{book}", data="{}")).status == 200
    assert (await client.post(f"/ratings/{ratings.MAX_BOOKS}", data="{}")).status == 507


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(reviews.Version(pod="reviews-v1"), None, id="v1 shows no stars"),
        pytest.param(BLACK, {"stars": 5, "color": "black"}, id="v2 shows black stars"),
        pytest.param(RED, {"stars": 5, "color": "red"}, id="v3 shows red stars"),
    ],
)
async def test_reviews_differ_by_version(
    start: Start, proxy: str, version: reviews.Version, expected: dict[str, Any] | None
) -> None:
    client = await start(reviews.application(version, proxy, {}))
    answer = await (await client.get("/reviews/0")).json()
    assert (answer["id"], answer["podname"], answer["clustername"]) == ("0", version.pod, "null")
    assert [review["reviewer"] for review in answer["reviews"]] == ["Reviewer1", "Reviewer2"]
    assert answer["reviews"][0].get("rating") == expected


def test_the_version_comes_from_the_public_samples_variables() -> None:
    environ = {"HOSTNAME": "reviews-v3-abc", "CLUSTER_NAME": "c1", "ENABLE_RATINGS": "true", "STAR_COLOR": "red"}
    assert reviews.Version.of(environ) == reviews.Version("reviews-v3-abc", "c1", True, "red")
    assert reviews.Version.of({}).stars is False


async def test_reviews_without_ratings_say_so(start: Start, mesh: FakeMesh, proxy: str) -> None:
    mesh.answers["ratings"] = (503, "no healthy upstream")
    client = await start(reviews.application(RED, proxy, {}))
    answer = await client.get("/reviews/0")
    assert answer.status == 200
    rating = (await answer.json())["reviews"][0]["rating"]
    assert rating == {"error": "Ratings service is currently unavailable"}


async def test_reviews_pass_the_trace_and_the_user_on(start: Start, mesh: FakeMesh, proxy: str) -> None:
    client = await start(reviews.application(RED, proxy, {}))
    await client.get("/reviews/0", headers=CONTEXT | {"end-user": "jason", "x-other": "1"})
    passed = mesh.headers_of("ratings")
    assert {name: passed.get(name) for name in CONTEXT} == CONTEXT
    assert passed["end-user"] == "jason"
    assert "x-other" not in passed


async def test_the_page_shows_what_the_services_answer_and_markup_in_it_as_text(start: Start, proxy: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    answer = await client.get("/productpage")
    page = await answer.text()
    assert answer.status == 200
    assert "The Comedy of Errors" in page
    assert "William Shakespeare</dd>" in page
    assert "&lt;b&gt;so&lt;/b&gt;" in page
    assert "reviews-v3" in page


@pytest.mark.parametrize("service", ["details", "reviews"])
async def test_the_page_is_there_when_a_service_fails(start: Start, mesh: FakeMesh, proxy: str, service: str) -> None:
    mesh.answers[service] = (503, "no healthy upstream")
    client = await start(productpage.application("secret", proxy, {}))
    answer = await client.get("/productpage")
    assert answer.status == 200
    assert f"Sorry, product {service} are currently unavailable for this book." in await answer.text()
    asked = sum(url.startswith(f"http://{service}:9080/") for url, _ in mesh.seen)
    assert asked == (productpage.REVIEWS_ATTEMPTS if service == "reviews" else 1)


async def test_signing_in_sends_end_user_until_signing_out(start: Start, mesh: FakeMesh, proxy: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    await client.get("/productpage")
    assert "end-user" not in mesh.headers_of("reviews")

    mesh.seen.clear()
    signed_in = await client.post("/login", data={"username": "jason"}, allow_redirects=False)
    assert (signed_in.status, signed_in.headers["location"]) == (302, "/productpage")
    assert "httponly" in signed_in.headers["set-cookie"].lower()
    assert '<b id="user">jason</b>' in await (await client.get("/productpage")).text()
    assert mesh.headers_of("reviews")["end-user"] == "jason"
    assert mesh.headers_of("details")["end-user"] == "jason"

    mesh.seen.clear()
    await client.get("/logout", allow_redirects=False)
    await client.get("/productpage")
    assert "end-user" not in mesh.headers_of("reviews")


@pytest.mark.parametrize("cookie", ["jason", "Imphc29uIg.AAAA", ""])
async def test_a_forged_session_is_nobodys(start: Start, mesh: FakeMesh, proxy: str, cookie: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    await client.get("/productpage", headers={"cookie": f"session={cookie}"})
    assert "end-user" not in mesh.headers_of("reviews")


@pytest.mark.parametrize("name", ["", "a\r\nx-admin: 1", "é", "a" * 65, "<script>"])
async def test_a_name_that_is_no_header_value_cannot_sign_in(start: Start, proxy: str, name: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    answer = await client.post("/login", data={"username": name}, allow_redirects=False)
    assert (answer.status, "set-cookie" in answer.headers) == (400, False)


async def test_the_api_answers_products_details_reviews_and_ratings(start: Start, mesh: FakeMesh, proxy: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    products = await (await client.get("/api/v1/products")).json()
    assert [(product["id"], product["title"]) for product in products] == [(0, "The Comedy of Errors")]
    assert await (await client.get("/api/v1/products/0")).json() == mesh.answers["details"][1]
    assert await (await client.get("/api/v1/products/0/reviews")).json() == mesh.answers["reviews"][1]
    assert await (await client.get("/api/v1/products/0/ratings")).json() == mesh.answers["ratings"][1]
    mesh.answers["ratings"] = (503, "")
    failed = await client.get("/api/v1/products/0/ratings")
    assert failed.status == 503
    assert (await failed.json())["error"].startswith("Sorry, product ratings are currently unavailable")


async def test_a_product_id_stays_one_path_segment(start: Start, mesh: FakeMesh, proxy: str) -> None:
    client = await start(productpage.application("secret", proxy, {}))
    await client.get("/api/v1/products/%2e%2e%2fhealth")
    assert [url for url, _ in mesh.seen] == ["http://details:9080/details/..%2Fhealth"]


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (details.application, {"status": "Details is healthy"}),
        (ratings.application, {"status": "Ratings is healthy"}),
        (lambda: reviews.application(RED, None, {}), {"status": "Reviews is healthy"}),
    ],
    ids=["details", "ratings", "reviews"],
)
async def test_health(start: Start, app: Callable[[], web.Application], expected: dict[str, str]) -> None:
    client = await start(app())
    assert await (await client.get("/health")).json() == expected


async def test_an_unreachable_sidecar_is_an_unavailable_service(start: Start, unused_tcp_port: int) -> None:
    client = await start(productpage.application("secret", f"http://127.0.0.1:{unused_tcp_port}", {}))
    answer = await client.get("/api/v1/products/0")
    assert answer.status == 500
    assert re.search("currently unavailable", await answer.text())


def test_every_trace_header_is_lower_case_and_named_once() -> None:
    assert len(set(TRACE_HEADERS)) == len(TRACE_HEADERS)
    assert all(name == name.lower() for name in TRACE_HEADERS)
