from dataclasses import replace

import pytest

from dashboards.console.session import Allow, Call, Hosts, Refuse, Session, SignIn, hosts_for, judge

SESSION = Session(token="the-token", cookie="the-cookie", cookie_name="remora_console_20001")
HOSTS = hosts_for("127.0.0.1", 20001)
COOKIE = ("cookie", "other=1; remora_console_20001=the-cookie")
GET = Call(False, "GET", "/", "", (("host", "127.0.0.1:20001"), COOKIE))
SOCKET = replace(GET, websocket=True, path="/_nicegui_ws/socket.io/")
ORIGIN = ("origin", "http://127.0.0.1:20001")


def with_headers(call: Call, *headers: tuple[str, str]) -> Call:
    return replace(call, headers=(*call.headers, *headers))


def judged(call: Call) -> Allow | Refuse | SignIn:
    return judge(call, SESSION, HOSTS)


@pytest.mark.parametrize(
    "path", ["/", "/logs", "/assets/console.css", "/favicon.ico", "/_nicegui/3.0/static/nicegui.js", "/nowhere"]
)
def test_without_a_session_every_route_is_401(path: str) -> None:
    call = Call(False, "GET", path, "", (("host", "127.0.0.1:20001"),))
    assert judged(call) == Refuse(401, "not signed in")
    assert judged(replace(call, websocket=True, headers=(*call.headers, ORIGIN))) == Refuse(401, "not signed in")


@pytest.mark.parametrize(
    "cookie",
    ["", "remora_console_20001=", "remora_console_20001=the-token", "remora_console_20001=the-cookie2",
     "remora_console_20002=the-cookie", "xremora_console_20001=the-cookie", "remora_console_20001=\xff"],
)  # fmt: skip
def test_another_cookie_is_no_session(cookie: str) -> None:
    call = replace(GET, headers=(("host", "127.0.0.1:20001"), ("cookie", cookie)))
    assert isinstance(judged(call), Refuse)


def test_with_the_cookie_a_page_is_served() -> None:
    assert judged(GET) == Allow()


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/", "token=the-token", "/"),
        ("/traces", "service=a+b&token=the-token&min_ms=5", "/traces?service=a+b&min_ms=5"),
        ("/traces/é", "token=the-token", "/traces/%C3%A9"),
        ("//evil.example/x", "token=the-token", "/evil.example/x"),
        ("/\\evil.example", "token=the-token", "/evil.example"),
        ("/x\r\nset-cookie: a=b", "token=the-token", "/x%0D%0Aset-cookie:%20a=b"),
    ],
)
def test_the_token_signs_in_on_any_page_and_leaves_the_address(path: str, query: str, location: str) -> None:
    call = Call(False, "GET", path, query, (("host", "127.0.0.1:20001"),))
    assert judged(call) == SignIn(location, set_cookie=True)


@pytest.mark.parametrize(
    "query", ["token=", "token=the-toke", "token=the-token2", "token=the-cookie", "Token=the-token"]
)
def test_another_token_is_401(query: str) -> None:
    call = Call(False, "GET", "/", query, (("host", "127.0.0.1:20001"),))
    assert judged(call) == Refuse(401, "not signed in")


def test_an_old_token_in_the_address_of_who_is_signed_in_is_only_removed() -> None:
    assert judged(replace(GET, path="/logs", query="token=old")) == SignIn("/logs", set_cookie=False)


def test_the_token_opens_no_websocket_and_no_post() -> None:
    bare = Call(False, "POST", "/", "token=the-token", (("host", "127.0.0.1:20001"), ORIGIN))
    assert judged(bare) == Refuse(401, "not signed in")
    assert judged(replace(bare, websocket=True)) == Refuse(401, "not signed in")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:20001", "127.0.0.1", "127.0.0.1:20002", "127.0.0.1.nip.io:20001", ""]
)
def test_a_name_that_is_not_the_console_s_is_refused(host: str) -> None:
    call = replace(GET, headers=(("host", host), COOKIE))
    verdict = judged(call)
    assert isinstance(verdict, Refuse)
    assert verdict.status == 403


def test_no_host_and_two_hosts_are_refused() -> None:
    for headers in ((COOKIE,), (("host", "127.0.0.1:20001"), ("host", "127.0.0.1:20001"), COOKIE)):
        assert judge(replace(GET, headers=headers), SESSION, HOSTS).__class__ is Refuse


@pytest.mark.parametrize("host", ["127.0.0.1:20001", "LOCALHOST:20001", "[::1]:20001"])
def test_loopback_has_several_names(host: str) -> None:
    assert judged(replace(GET, headers=(("host", host), COOKIE))) == Allow()


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("10.0.0.7:8080", True), ("localhost:9999", True), ("[fe80::1]:80", True), ("192.168.1.1", True),
     ("evil.example:20001", False), ("localhost.evil.example", False), ("1.2.3.4:x", False)],
)  # fmt: skip
def test_a_console_for_all_interfaces_answers_addresses_but_no_names(host: str, allowed: bool) -> None:
    assert hosts_for("0.0.0.0", 20001).allow(host) is allowed


def test_a_console_on_a_named_interface_answers_by_that_name() -> None:
    assert hosts_for("mesh.internal", 20001) == Hosts(frozenset({"mesh.internal:20001", "localhost:20001"}))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:20002", "http://localhost:20001", "null", "https://127.0.0.1"]
)
def test_another_site_s_page_may_neither_post_nor_open_a_websocket_nor_fetch(origin: str) -> None:
    for call in (replace(GET, method="POST"), SOCKET, GET):
        assert judged(with_headers(call, ("origin", origin))) == Refuse(403, "cross-site request")


def test_our_own_page_may_post_and_open_its_websocket() -> None:
    for call in (replace(GET, method="POST"), SOCKET):
        assert judged(with_headers(call, ORIGIN)) == Allow()


def test_a_post_or_websocket_without_an_origin_comes_from_no_browser() -> None:
    for call in (replace(GET, method="POST"), replace(GET, method="DELETE"), SOCKET):
        assert judged(call).__class__ is Refuse


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_not_embed_scripts_of_ours_but_may_link_here(site: str) -> None:
    embedded = with_headers(GET, ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors"))
    linked = with_headers(GET, ("sec-fetch-site", site), ("sec-fetch-mode", "navigate"))
    assert judged(embedded) == Refuse(403, "cross-site request")
    assert judged(linked) == Allow()


@pytest.mark.parametrize("path", ["/assets/../app.py", "/assets/..\\app.py", "/..", "/assets/x\0"])
def test_a_path_that_climbs_is_404(path: str) -> None:
    assert judged(replace(GET, path=path)) == Refuse(404, "not found")


def test_secrets_are_new_each_time_long_and_in_no_repr() -> None:
    one, two = Session(), Session()
    assert len({one.token, two.token, one.cookie, two.cookie}) == 4
    assert min(len(one.token), len(one.cookie)) >= 43
    assert one.token not in repr(one)
    assert one.cookie not in repr(one)
