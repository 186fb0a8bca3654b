"""RDS `RouteConfiguration`: virtual hosts, routes and what they do."""

from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault

from sidecar.config.route import (
    DirectResponse,
    Fault,
    Forward,
    Redirect,
    Route,
    RouteConfiguration,
    VirtualHost,
)
from sidecar.xds.decode_fault import decode_fault
from sidecar.xds.decode_forward import decode_forward
from sidecar.xds.decode_headers import decode_header_edits
from sidecar.xds.decode_match import decode_route_match
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.needs import Decoding

MAX_DIRECT_RESPONSE_BYTES = 1024 * 1024

_PER_FILTER_CLASSES = by_name(HTTPFault)
_FAULT_FILTER = "envoy.filters.http.fault"
_REDIRECT_STATUS = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


def decode_route_configuration(fields: Fields, decoding: Decoding) -> RouteConfiguration:
    name = fields.text("name")
    fields.informational("max_direct_response_body_size_bytes", "metadata")
    if fields.wrapped("validate_clusters", False):
        raise fields.reject("validate_clusters", "only false is supported: a missing cluster is answered 503")
    # Envoy compares the port only where this is false; the sidecar's virtual hosts are looked up with the port first
    # and without it next, which finds the same host either way.
    fields.informational("ignore_port_in_host_matching")
    hosts = tuple(_decode_virtual_host(each, decoding) for each in fields.children("virtual_hosts"))
    seen: dict[str, str] = {}
    for host in hosts:
        for domain in host.domains:
            if domain in seen:
                raise fields.reject("virtual_hosts", f"domain {domain} is in both {seen[domain]} and {host.name}")
            seen[domain] = host.name
    return RouteConfiguration(name, hosts, decode_header_edits(fields))


def _decode_virtual_host(fields: Fields, decoding: Decoding) -> VirtualHost:
    name = fields.required("name")
    fields.informational(
        "metadata",
        # x-envoy-attempt-count is always sent upstream.
        "include_request_attempt_count",
    )
    fields.only("require_tls", ("NONE",))
    domains = tuple(domain.lower() for domain in fields.texts("domains"))
    if not domains:
        raise fields.reject("domains", "is required")
    for index, domain in enumerate(domains):
        if not domain or "*" in domain[1:-1] or (domain.count("*") > 1):
            raise fields.reject(f"domains[{index}]", f"{domain!r} is not a name, *.SUFFIX, PREFIX.* or *")
    routes = tuple(_decode_route(each, decoding) for each in fields.children("routes"))
    return VirtualHost(name, domains, routes, decode_header_edits(fields))


def _decode_route(fields: Fields, decoding: Decoding) -> Route:
    # `decorator` names the span in tracers that are told to; ours are named by OpenTelemetry's conventions.
    fields.informational("metadata", "decorator", "stat_prefix")
    match = decode_route_match(fields.must("match"))
    action: Forward | Redirect | DirectResponse
    kind = fields.which("action")
    match kind:
        case "route":
            action = decode_forward(fields.must("route"), decoding)
            if match.connect and (action.prefix_rewrite or action.regex_rewrite):
                raise fields.reject("route", "rewrites a path, which a CONNECT does not have")
        case "redirect":
            action = _decode_redirect(fields.must("redirect"))
        case "direct_response":
            action = _decode_direct_response(fields.must("direct_response"))
        case _:
            raise fields.reject(kind or "route", "supported: route, redirect, direct_response")
    return Route(fields.text("name"), match, action, decode_header_edits(fields), _decode_per_filter(fields))


def _decode_per_filter(fields: Fields) -> Fault | None:
    fault: Fault | None = None
    for key, (_, message) in fields.unpacked_map("typed_per_filter_config", _PER_FILTER_CLASSES).items():
        if key != _FAULT_FILTER:
            raise fields.reject(f"typed_per_filter_config[{key}]", f"is not supported; supported: {_FAULT_FILTER}")
        fault = decode_fault(message)
    return fault


def _decode_redirect(fields: Fields) -> Redirect:
    path = prefix_rewrite = None
    match fields.which("path_rewrite_specifier"):
        case "path_redirect":
            path = fields.text("path_redirect")
        case "prefix_rewrite":
            prefix_rewrite = fields.text("prefix_rewrite")
        case None:
            pass
        case kind:
            raise fields.reject(kind, "is not supported; use path_redirect or prefix_rewrite")
    scheme = None
    match fields.which("scheme_rewrite_specifier"):
        case "https_redirect":
            scheme = "https" if fields.value("https_redirect") else None
        case "scheme_redirect":
            scheme = fields.text("scheme_redirect").lower()
    port = fields.value("port_redirect")
    if port > 65535:
        raise fields.reject("port_redirect", f"{port} is not a port")
    return Redirect(
        status=_REDIRECT_STATUS[fields.only("response_code", _REDIRECT_STATUS)],
        scheme=scheme,
        host=fields.text("host_redirect") or None,
        port=port or None,
        path=path,
        prefix_rewrite=prefix_rewrite,
    )


def _decode_direct_response(fields: Fields) -> DirectResponse:
    status = fields.value("status")
    if not 200 <= status <= 599:
        raise fields.reject("status", f"{status} is not from 200 to 599")
    body = b""
    source = fields.child("body")
    if source is not None:
        kind = source.which("specifier")
        if kind == "inline_string":
            body = source.text(kind).encode()
        elif kind == "inline_bytes":
            body = source.value(kind)
        else:
            raise source.reject(kind or "", "only inline_string and inline_bytes are supported")
    if len(body) > MAX_DIRECT_RESPONSE_BYTES:
        raise fields.reject("body", f"is larger than {MAX_DIRECT_RESPONSE_BYTES} bytes")
    return DirectResponse(status, body)
