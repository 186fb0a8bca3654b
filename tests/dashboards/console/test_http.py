"""The console's port as a stranger on the same machine, or a web page in the same browser, sees it."""

import base64
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import nicegui
import pytest

STATIC = f"/_nicegui/{nicegui.__version__}/static/nicegui.js"
ROUTES = [
    "/", "/services", "/traces", "/traces/" + "a" * 32, "/logs", "/errors", "/rules", "/assets/console.css",
    "/assets/remora.svg", "/favicon.ico", STATIC, f"/_nicegui/{nicegui.__version__}/components/echart.js", "/nowhere",
    "/docs", "/openapi.json", "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
]  # fmt: skip


@pytest.fixture
def client(bookinfo: Any) -> Iterator[httpx.Client]:
    """Signed in, as a browser is after opening the printed address."""
    with httpx.Client(base_url=bookinfo.base, trust_env=False) as client:
        client.get(f"/?token={bookinfo.token}")
        yield client


def raw(port: int, request: bytes) -> bytes:
    """Send bytes as they are; returns the head of the answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(request)
        return sock.recv(65536)


def handshake(port: int, *headers: str) -> bytes:
    """The first line of the answer to a WebSocket's handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}", *headers, "", "",
    ]  # fmt: skip
    return raw(port, "\r\n".join(lines).encode()).partition(b"\r\n")[0]


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_session_every_route_is_401(bookinfo: Any, route: str) -> None:
    for method in ("GET", "HEAD"):
        answer = httpx.request(method, bookinfo.base + route, trust_env=False)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_without_a_session_a_websocket_is_401(bookinfo: Any) -> None:
    assert handshake(bookinfo.port, f"Origin: {bookinfo.base}").startswith(b"HTTP/1.1 401")


def test_the_token_is_traded_for_a_cookie_that_scripts_and_other_sites_do_not_get(bookinfo: Any) -> None:
    answer = httpx.get(bookinfo.at("/traces?service=reviews"), trust_env=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/traces?service=reviews"
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"remora_console_{bookinfo.port}=")
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert bookinfo.token not in answer.headers["set-cookie"]


@pytest.mark.parametrize("route", [*ROUTES[:9], STATIC])
def test_with_the_cookie_everything_is_there_and_says_what_it_may_load(client: httpx.Client, route: str) -> None:
    answer = client.get(route)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_page_names_no_other_host(client: httpx.Client) -> None:
    for route in ("/", "/rules"):
        addresses = set(re.findall(r"https?://[\w.-]+", client.get(route).text))
        assert addresses <= {"http://www.w3.org"}, addresses


def test_a_wrong_token_is_401(bookinfo: Any) -> None:
    assert httpx.get(f"{bookinfo.base}/?token={bookinfo.token[:-1]}", trust_env=False).status_code == 401


def test_another_name_for_this_machine_is_refused_even_with_the_cookie(client: httpx.Client, bookinfo: Any) -> None:
    for host in ("evil.example", f"evil.example:{bookinfo.port}", "127.0.0.1"):
        assert client.get("/", headers={"host": host}).status_code == 403
    token = httpx.get(bookinfo.url, headers={"host": "evil.example"}, trust_env=False)
    assert token.status_code == 403
    assert "set-cookie" not in token.headers


def test_a_post_of_another_site_is_refused_and_one_of_ours_reaches_the_application(
    client: httpx.Client, bookinfo: Any
) -> None:
    polling = "/_nicegui_ws/socket.io/?EIO=4&transport=polling&sid=none"
    assert client.post(polling, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(polling, headers={"origin": f"http://127.0.0.1:{bookinfo.port + 1}"}).status_code == 403
    assert client.post(polling).status_code == 403
    assert client.post(polling, headers={"origin": bookinfo.base}).status_code == 400


def test_a_websocket_of_another_site_is_refused_even_with_the_cookie(client: httpx.Client, bookinfo: Any) -> None:
    cookie = "Cookie: " + "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    assert handshake(bookinfo.port, cookie, f"Origin: {bookinfo.base}").startswith(b"HTTP/1.1 101")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert handshake(bookinfo.port, cookie, f"Origin: {origin}").startswith(b"HTTP/1.1 403")
    assert handshake(bookinfo.port, cookie).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "path",
    ["/assets/../app.py", "/assets/..%2fapp.py", "/assets/%2e%2e/app.py", "/assets/..%5capp.py",
     "/assets/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml", "/assets//etc/passwd",
     f"/_nicegui/{nicegui.__version__}/static/..%2f..%2fui.py",
     f"/_nicegui/{nicegui.__version__}/esm/nicegui-echart/..%2f..%2fechart.py",
     f"/_nicegui/{nicegui.__version__}/resources/x/../../etc/passwd"],
)  # fmt: skip
def test_a_path_that_climbs_out_is_404(client: httpx.Client, bookinfo: Any, path: str) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{bookinfo.port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    answer = raw(bookinfo.port, head.encode())
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"import " not in answer
    assert b"root:" not in answer


def test_the_token_is_never_sent_on_to_another_site(bookinfo: Any) -> None:
    for path in ("//evil.example/", "/%5cevil.example/", "/%2f%2fevil.example"):
        request = f"GET {path}?token={bookinfo.token} HTTP/1.1\r\nHost: 127.0.0.1:{bookinfo.port}\r\n\r\n"
        head = raw(bookinfo.port, request.encode()).decode()
        location = re.search(r"^location: (.*)\r$", head, re.MULTILINE)
        assert location is not None, head
        assert re.match(r"/(?![/\\])", location[1]), location[1]
        assert bookinfo.token not in head


def test_a_forwarding_header_does_not_get_into_the_page(client: httpx.Client) -> None:
    hostile = '/x"></script><script>alert(1)</script>'
    text = client.get("/", headers={"x-forwarded-prefix": hostile}).text
    assert "alert(1)" not in text


@pytest.mark.parametrize(
    "path",
    ["/traces?min_ms=NaN&errors=x&window=99y&service=%00", "/logs?trace_id=../../x&severity=%3Cb%3E&window=",
     "/traces/not-a-trace", "/?node=%22%3E%3Cscript%3E&window=-1", "/rules?kind=%7B%7B7*7%7D%7D",
     "/logs?text=%22%22%22*(", "/errors?kind=%3Cb%3E&text=%25%00&service=%27&new=x&window=z"],
)  # fmt: skip
def test_nonsense_in_an_address_is_a_page_without_it(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_two_consoles_have_different_tokens(console: Callable[..., Any]) -> None:
    one, two = console(), console()
    assert one.token != two.token
    assert httpx.get(f"{two.base}/?token={one.token}", trust_env=False).status_code == 401


def test_neither_token_nor_admin_token_is_in_what_the_console_wrote(
    console: Callable[..., Any], control: Any, state: Any
) -> None:
    running = console()
    with httpx.Client(base_url=running.base, trust_env=False) as client:
        client.get(f"/?token={running.token}", follow_redirects=True)
        page = client.get("/rules").text
    admin = (state / "admin.token").read_text()
    assert admin not in page
    assert running.stop() == 0
    said = running.errors.read_text()
    assert admin not in said
    assert running.token not in said
