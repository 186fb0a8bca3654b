"""Who may speak to the console: a token once, a cookie from then on, and only from the console's own pages.

Sits in front of every route, static files and WebSockets included. `judge` decides and does no I/O; `Gate` carries the
decision out. A console that listens on loopback is reachable by any web page that the user's browser shows, hence the
checks of Host (DNS rebinding) and Origin (cross-site requests) beside the session.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_PARAMETER = "token"  # noqa: S105 - the parameter's name

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        # The framework starts its pages with inline modules and evaluates handlers: what keeps data from becoming
        # script is that data is only ever text, so these two can stay.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Nothing is loaded from, or sent to, anywhere else."""

SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

SIGN_IN_PAGE = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Remora: not signed in</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:18vh auto;max-width:34rem;padding:0 1rem;color:#1e293b}
@media(prefers-color-scheme:dark){body{background:#0b1220;color:#e2e8f0}a{color:#5eead4}}
code{background:#8883;padding:.1em .35em;border-radius:4px}</style></head><body>
<h1>Not signed in</h1><p>Open the console with the whole address that <code>remora up</code> printed; it ends in
<code>?token=&hellip;</code>. The token is new each time the console starts.</p>
<p>If you came by a link from elsewhere and had the console open before, <a href="">go on</a>.</p></body></html>"""


@dataclass(frozen=True, slots=True)
class Session:
    """The secrets of one run of the console; kept in memory only, never logged (hence no repr)."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Goes into the address that the user opens."""
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Goes to the browser once the token was shown, so that a leaked cookie is not the token."""
    cookie_name: str = "remora_console"
    """Holds the port: cookies do not tell ports of one host apart."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The values of Host under which the console answers."""

    exact: frozenset[str] = frozenset()
    addresses: bool = False
    """Any IP address and `localhost`, on any port: DNS rebinding needs a name, so an address in Host is harmless. For a
    console that listens on more than loopback, and is reached through port mappings."""

    def allow(self, host: str) -> bool:
        host = host.lower()
        return host in self.exact or (self.addresses and _is_address(host))


def hosts_for(address: str, port: int) -> Hosts:
    """What to expect in Host for a console that listens on `address`."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return Hosts(frozenset({f"{address.lower()}:{port}", f"localhost:{port}"}))
    if not ip.is_loopback:
        return Hosts(addresses=True)
    names = ["localhost", "127.0.0.1", "[::1]", f"[{ip}]" if ip.version == 6 else str(ip)]
    # Browsers leave out port 80.
    return Hosts(frozenset([f"{name}:{port}" for name in names] + (names if port == 80 else [])))


def _is_address(host: str) -> bool:
    name, separator, port = host.rpartition(":")
    if not separator or host.endswith("]"):
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Call:
    """The part of a request or WebSocket handshake that decides whether it may go on."""

    websocket: bool
    method: str
    path: str
    """Decoded."""
    query: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, repeated ones kept."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Allow:
    """Let it pass."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this status instead."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Redirect to `location`, with the session's cookie if the token was right."""

    location: str
    set_cookie: bool


def judge(call: Call, session: Session, hosts: Hosts) -> Allow | Refuse | SignIn:
    """What becomes of a call. Everything not plainly the console's own is refused."""
    host = call.values("host")
    if len(host) != 1 or not hosts.allow(host[0]):
        return Refuse(403, "this name is not the console's: open it by the address that it printed")
    if foreign := _foreign(call, host[0]):
        return Refuse(403, foreign)
    signed_in = any(_same(value, session.cookie) for value in _cookies(call.values("cookie"), session.cookie_name))
    parameters = parse_qsl(call.query, keep_blank_values=True, max_num_fields=None)
    tokens = [value for name, value in parameters if name == TOKEN_PARAMETER]
    shown = any(_same(value, session.token) for value in tokens)
    if tokens and (shown or signed_in) and not call.websocket and call.method in ("GET", "HEAD"):
        return SignIn(_clean_url(call.path, parameters), set_cookie=shown)
    if not signed_in:
        return Refuse(401, "not signed in")
    if ".." in call.path.replace("\\", "/").split("/") or "\0" in call.path:
        return Refuse(404, "not found")
    return Allow()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _foreign(call: Call, host: str) -> str:
    """Why a call comes from another site's page, or nothing if it does not."""
    origins = call.values("origin")
    if any(origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}") for origin in origins):
        return "cross-site request"
    changes = call.websocket or call.method not in ("GET", "HEAD", "OPTIONS")
    if changes and not origins:
        # Every browser sends Origin with these.
        return "a request that changes something must say its origin"
    sites = call.values("sec-fetch-site")
    navigates = call.values("sec-fetch-mode") == ["navigate"] and not changes
    if sites and not navigates and any(site not in ("same-origin", "none") for site in sites):
        return "cross-site request"
    return ""


def _cookies(headers: Iterable[str], name: str) -> list[str]:
    pairs = (part.strip().partition("=") for header in headers for part in header.split(";"))
    return [value for key, _, value in pairs if key == name]


def _clean_url(path: str, parameters: list[tuple[str, str]]) -> str:
    # `//host/...` and `/\host` would lead to another site.
    path = "/" + path.replace("\\", "/").lstrip("/")
    rest = urlencode([(name, value) for name, value in parameters if name != TOKEN_PARAMETER])
    return quote(path, safe="/:@!$&'()*+,;=-._~") + (f"?{rest}" if rest else "")


class Gate:
    """ASGI middleware around the whole console."""

    def __init__(self, app: ASGIApp, session: Session, hosts: Hosts) -> None:
        self.app = app
        self._session = session
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        verdict = judge(_call(scope), self._session, self._hosts)
        match verdict:
            case Allow():
                # A proxy's word about prefix, scheme or client is nobody's here: the framework would put it in pages.
                scope = dict(scope)
                scope["headers"] = [
                    (name, value)
                    for name, value in scope["headers"]
                    if not name.startswith(b"x-forwarded-") and name != b"forwarded"
                ]
                await self.app(scope, receive, _with_security_headers(send))
            case SignIn(location, set_cookie):
                headers = [(b"location", location.encode("ascii"))]
                if set_cookie:
                    cookie = f"{self._session.cookie_name}={self._session.cookie}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append((b"set-cookie", cookie.encode()))
                await _answer(scope, send, 303, headers, b"")
            case Refuse(401, _) if scope["type"] == "http":
                body = SIGN_IN_PAGE if scope["method"] == "GET" else b""
                await _answer(scope, send, 401, [(b"content-type", b"text/html; charset=utf-8")], body)
            case Refuse(status, reason):
                headers = [(b"content-type", b"text/plain; charset=utf-8")]
                await _answer(scope, send, status, headers, f"{reason}\n".encode())


def _call(scope: Scope) -> Call:
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    websocket = scope["type"] == "websocket"
    query = scope.get("query_string", b"").decode("latin-1")
    return Call(websocket, "GET" if websocket else scope["method"], scope["path"], query, headers)


def _with_security_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *SECURITY_HEADERS]}
        await send(message)

    return wrapped


async def _answer(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        # Refused before it is accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1008})
        return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    everything = [*headers, (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": f"{kind}.start", "status": status, "headers": [*everything, *SECURITY_HEADERS]})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else body})
