"""`upgrade_configs` of a connection manager and of a route: which protocols HTTP/1.1 requests may switch to.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/upgrades
"""

import re

from sidecar.xds.fields import Fields

_TOKEN = re.compile(r"[!#-'*+.^_`|~0-9A-Za-z-]+")


def decode_upgrades(fields: Fields) -> tuple[str, ...]:
    """Of a connection manager: what is allowed, in lower case."""
    return tuple(name for name, allowed in decode_route_upgrades(fields) if allowed)


def decode_route_upgrades(fields: Fields) -> tuple[tuple[str, bool], ...]:
    """(protocol in lower case, allowed)."""
    decoded: dict[str, bool] = {}
    for each in fields.children("upgrade_configs"):
        name = each.required("upgrade_type").lower()
        if _TOKEN.fullmatch(name) is None:
            raise each.reject("upgrade_type", "is no name of a protocol")
        if name in ("connect", "connect-udp", "h2c"):
            raise each.reject("upgrade_type", f"{name} is not supported")
        if name in decoded:
            raise each.reject("upgrade_type", f"{name} is there twice")
        decoded[name] = each.wrapped("enabled", True)
    return tuple(decoded.items())
