"""envoy.service.runtime.v3.Runtime -> RuntimeLayer. Two keys are known; whatever else a layer says is refused."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from google.protobuf import json_format

from sidecar.xds.fields import Fields
from sidecar.xds.needs import Decoding, RuntimeLayer

MAX_NAMES = 100_000
MAX_NAME_CHARACTERS = 255
MAX_ADDRESSES = 1000
"""Of one name: more do not go into an answer of DNS, 64 KiB, in any case."""


def decode_runtime(fields: Fields, decoding: Decoding) -> RuntimeLayer:
    """`layer` may have `finished`, a truth value, and `names`, hosts with their addresses, separated by spaces."""
    layer = json_format.MessageToDict(fields.value("layer"))
    finished = layer.pop("finished", False)
    if not isinstance(finished, bool):
        raise fields.reject("layer.finished", "is neither true nor false")
    names = layer.pop("names", None)
    if layer:
        raise fields.reject(f"layer.{min(layer)}", "is not supported; supported: finished, names")
    return RuntimeLayer(fields.required("name"), finished, None if names is None else _names(names, fields))


def _names(value: object, fields: Fields) -> Mapping[str, tuple[IPv4Address | IPv6Address, ...]]:
    if not isinstance(value, dict):
        raise fields.reject("layer.names", "is no mapping of hosts to addresses")
    if len(value) > MAX_NAMES:
        raise fields.reject("layer.names", f"has {len(value):,} hosts; {MAX_NAMES:,} is the most")
    names = {}
    for host, text in value.items():
        if not 0 < len(host) <= MAX_NAME_CHARACTERS or not isinstance(text, str):
            raise fields.reject("layer.names", f"has {host[:100]!r}, which is no host with its addresses")
        try:
            names[host] = tuple(ip_address(each) for each in text.split(" ")[:MAX_ADDRESSES])
        except ValueError:
            raise fields.reject("layer.names", f"has {host[:100]!r} with {text[:100]!r}, no addresses") from None
    return names
