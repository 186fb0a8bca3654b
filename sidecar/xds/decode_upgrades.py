"""`upgrade_configs` of a connection manager and of a route: which protocols requests may leave HTTP for, CONNECT
included.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/upgrades
"""

import re

from sidecar.xds.fields import Fields

CONNECT = "connect"

_TOKEN = re.compile(r"[!#-'*+.^_`|~0-9A-Za-z-]+")


def decode_upgrades(fields: Fields) -> tuple[str, ...]:
    """Of a connection manager: what is allowed, in lower case."""
    return tuple(name for name, allowed in _decode_names(fields.children("upgrade_configs")) if allowed)


def decode_route_upgrades(fields: Fields) -> tuple[tuple[tuple[str, bool], ...], bool]:
    """(protocol in lower case, allowed) of each, and whether a CONNECT ends here (`connect_config`)."""
    configs = fields.children("upgrade_configs")
    ends = False
    for each in configs:
        connect = each.child("connect_config")
        if connect is None:
            continue
        if each.text("upgrade_type").lower() != CONNECT:
            raise each.reject("connect_config", "is for upgrade_type CONNECT alone")
        if connect.has("proxy_protocol_config"):
            raise connect.reject("proxy_protocol_config", "is not supported")
        if connect.value("allow_post"):
            raise connect.reject("allow_post", "is not supported: only CONNECT makes a tunnel")
        ends = True
    return _decode_names(configs), ends


def _decode_names(configs: list[Fields]) -> tuple[tuple[str, bool], ...]:
    decoded: dict[str, bool] = {}
    for each in configs:
        name = each.required("upgrade_type").lower()
        if _TOKEN.fullmatch(name) is None:
            raise each.reject("upgrade_type", "is no name of a protocol")
        if name in ("connect-udp", "h2c"):
            raise each.reject("upgrade_type", f"{name} is not supported")
        if name in decoded:
            raise each.reject("upgrade_type", f"{name} is there twice")
        decoded[name] = each.wrapped("enabled", True)
    return tuple(decoded.items())
