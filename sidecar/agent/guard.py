"""Who may use the admin endpoints: someone on this machine who meant to, not a web page in their browser."""

from ipaddress import ip_address

from sidecar.agent.http_server import Request, Response, text


def refuse_strangers(request: Request) -> Response | None:
    """None to go on. A web page can reach loopback in two ways: its own name made to resolve to 127.0.0.1 (DNS
    rebinding), which shows in Host, or a cross-site request, which shows in Origin and Sec-Fetch-Site. Another port of
    this machine is another site: who serves there may be anybody."""
    host = request.headers.get("host", "")
    if not _is_local(host):
        return text("the Host header must name a loopback address\n", 403)
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return text("cross-site requests are refused\n", 403)
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return text("cross-site requests are refused\n", 403)
    return None


def _is_local(host: str) -> bool:
    """`localhost`, `127.0.0.1:15000`, `[::1]:15000`."""
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name = host
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
