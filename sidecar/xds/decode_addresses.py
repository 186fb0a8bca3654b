"""`core.v3.Address`, `core.v3.CidrRange`, `core.v3.BindConfig` and `core.v3.ConfigSource`."""

import ipaddress

from sidecar.config.endpoint import Address
from sidecar.xds.fields import Fields


def decode_address(fields: Fields, *, host_name: bool = False) -> Address:
    """A TCP socket address; an IP address unless `host_name` allows a name."""
    socket = fields.must("socket_address")
    socket.only("protocol", ("TCP",))
    host = socket.required("address")
    if socket.which("port_specifier") != "port_value":
        raise socket.reject("port_value", "is required")
    port = socket.value("port_value")
    if not host_name:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise socket.reject("address", f"{host[:100]!r} is not an IP address") from None
    if port > 65535:
        raise socket.reject("port_value", f"{port} is not a port")
    return Address(host, port)


def decode_ranges(fields: Fields, name: str) -> tuple[str, ...]:
    """Of a repeated CidrRange: `10.0.0.0/8`, sorted. As Envoy, bits beyond the prefix are dropped."""
    found: set[str] = set()
    for each in fields.children(name):
        prefix = each.required("address_prefix")
        length = each.wrapped("prefix_len", 0)
        try:
            found.add(str(ipaddress.ip_network(f"{prefix}/{length}", strict=False)))
        except ValueError:
            raise each.reject("", f"{prefix[:100]!r} with prefix_len {length} is not a range of addresses") from None
    return tuple(sorted(found))


def decode_sources(fields: Fields) -> tuple[str, ...]:
    """Of a BindConfig: the addresses to connect from, at most one of each family. The port is the system's choice."""
    addresses = [fields.must("source_address")]
    addresses += [each.must("address") for each in fields.children("extra_source_addresses")]
    found: list[str] = []
    for each in addresses:
        each.only("protocol", ("TCP",))
        host = each.required("address")
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            raise each.reject("address", f"{host[:100]!r} is not an IP address") from None
        if each.value("port_value"):
            raise each.reject("port_value", "must be 0: one port would do for one connection")
        if any(ipaddress.ip_address(other).version == version for other in found):
            raise each.reject("address", f"is a second address of IPv{version}; one of each family is possible")
        found.append(host)
    return tuple(found)


def expect_ads(fields: Fields) -> None:
    """The source must be this very stream: `{ads: {}, resource_api_version: V3}`."""
    if fields.which("config_source_specifier") != "ads":
        raise fields.reject("", "only `ads` is supported as a source of configuration")
    fields.must("ads")
    _expect_v3(fields)


def decode_secret_source(fields: Fields) -> bool:
    """True: the control plane sends the secret (ads). False: the agent has it itself (gRPC cluster `sds-grpc`, as
    Istio names the agent's own SDS service)."""
    source = fields.which("config_source_specifier")
    if source == "ads":
        expect_ads(fields)
        return True
    if source != "api_config_source":
        raise fields.reject("", "only `ads` and the agent's `api_config_source` `sds-grpc` are supported")
    api = fields.must("api_config_source")
    api.only("api_type", ("GRPC",))
    if api.enum("transport_api_version") not in ("V3", "AUTO"):
        raise api.reject("transport_api_version", "must be V3")
    api.informational("set_node_on_first_message_only")
    services = api.children("grpc_services")
    if len(services) != 1 or services[0].which("target_specifier") != "envoy_grpc":
        raise api.reject("grpc_services", "must be the one gRPC cluster `sds-grpc`")
    grpc = services[0].must("envoy_grpc")
    if grpc.text("cluster_name") != "sds-grpc":
        raise grpc.reject("cluster_name", "must be `sds-grpc`, the agent's own secrets")
    _expect_v3(fields)
    return False


def _expect_v3(fields: Fields) -> None:
    if fields.enum("resource_api_version") not in ("V3", "AUTO"):
        raise fields.reject("resource_api_version", "must be V3")
    # How long to wait for the first answer: the ADS machine has one such time for all.
    fields.informational("initial_fetch_timeout")
