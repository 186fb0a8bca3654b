"""mitmweb shows what is tapped, live, to whoever has the token."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from remora.tap.sinks import Viewer
from tests.remora.inspection import inspection
from tests.remora.tap.exchanges import exchange, read, unanswered


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    opened = Viewer(inspection())
    yield opened
    opened.close()


@pytest.fixture
def browser(viewer: Viewer) -> Iterator[httpx.Client]:
    """Has opened the address that was printed."""
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        page = client.get(viewer.url)
        assert page.status_code == 200
        assert "mitmproxy" in page.text
        assert page.url.query == b"", "the token does not stay in the address"
        yield client


def address(viewer: Viewer) -> str:
    parts = urlsplit(viewer.url)
    assert parts.hostname == "127.0.0.1"
    return f"http://{parts.netloc}"


def test_requests_arrive_as_they_happen(viewer: Viewer, browser: httpx.Client) -> None:
    viewer.add(read(exchange()))
    viewer.add(read(unanswered(method="GET")))
    deadline = time.monotonic() + 10
    while len(flows := browser.get(f"{address(viewer)}/flows").json()) < 2:
        assert time.monotonic() < deadline, flows
        time.sleep(0.02)
    first, second = flows
    assert (first["request"]["method"], first["response"]["status_code"]) == ("POST", 201)
    assert first["comment"].startswith("reviews-v3 inbound; route default")
    assert second["error"]["msg"] == "downstream_remote_disconnect"
    body = browser.get(f"{address(viewer)}/flows/{first['id']}/request/content.data")
    assert body.text == '{"a": 1}'


@pytest.mark.parametrize(
    "path", ["/", "/flows", "/commands", "/options", "/updates", "/static/app.js", "/?token=wrong"]
)
def test_without_the_token_there_is_nothing(path: str, viewer: Viewer) -> None:
    answer = httpx.get(address(viewer) + path, trust_env=False)
    assert (answer.status_code, answer.text) == (403, "open the address that `remora tap --view` printed\n")
    wrong = httpx.get(address(viewer) + path, trust_env=False, headers={"cookie": "remora_view=x"})
    assert wrong.status_code == 403


def test_commands_are_not_for_strangers(viewer: Viewer) -> None:
    answer = httpx.post(f"{address(viewer)}/commands/view.flows.create", json={"arguments": []}, trust_env=False)
    assert answer.status_code == 403
