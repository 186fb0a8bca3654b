"""`HttpConnectionManager`: routes by RDS or in place, HTTP filters fault and router, tracing, access log, limits."""

from dataclasses import replace

from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds.type.v3.typed_struct_pb2 import TypedStruct

from sidecar.config.addon import Addon
from sidecar.config.listener import Codec, Http
from sidecar.config.python_filter import MAX_FILTERS, PythonFilter
from sidecar.config.route import RouteConfiguration
from sidecar.xds.decode_addon import TYPE as ADDON
from sidecar.xds.decode_addon import decode_addons
from sidecar.xds.decode_addresses import expect_ads
from sidecar.xds.decode_limits import with_limits
from sidecar.xds.decode_python import decode_python_filter
from sidecar.xds.decode_routes import decode_route_configuration
from sidecar.xds.decode_upgrades import decode_upgrades
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.needs import Decoding

_CODECS = {"AUTO": Codec.AUTO, "HTTP1": Codec.HTTP1, "HTTP2": Codec.HTTP2}
_FAULT = HTTPFault.DESCRIPTOR.full_name
_ROUTER = Router.DESCRIPTOR.full_name
_FORWARD_CERTIFICATE = ("SANITIZE", "SANITIZE_SET", "APPEND_FORWARD")

_TYPED_STRUCT = TypedStruct.DESCRIPTOR.full_name

_FILTER_CLASSES = by_name(HTTPFault, Router, TypedStruct)
_ACCESS_LOG_CLASSES = by_name(FileAccessLog)

_DEFAULT = Http()


def decode_http(fields: Fields, decoding: Decoding) -> Http:
    fields.informational("stat_prefix")
    codec = _CODECS[fields.only("codec_type", _CODECS)]
    route_name, routes = _decode_route_source(fields, decoding)
    _decode_client_identity(fields)
    _decode_fixed(fields)
    sampling = _decode_tracing(fields)
    fault_filter, filters, addons = _decode_filters(fields)
    http = Http(
        route_name=route_name,
        routes=routes,
        sampling_percent=_DEFAULT.sampling_percent if sampling is None else sampling,
        access_log=decode_access_log(fields),
        trace=sampling is not None,
        # Envoy: a proxy that uses the remote address is the edge, whose clients' x-forwarded-* are not believed.
        trust_forwarded=not fields.wrapped("use_remote_address", False),
        fault_filter=fault_filter,
        upgrades=decode_upgrades(fields),
        server_name=fields.text("server_name") or _DEFAULT.server_name,
        codec=codec,
        filters=filters,
        addons=addons,
    )
    return with_limits(fields, http)


def _decode_route_source(fields: Fields, decoding: Decoding) -> tuple[str | None, RouteConfiguration | None]:
    kind = fields.which("route_specifier")
    if kind == "rds":
        rds = fields.must("rds")
        expect_ads(rds.must("config_source"))
        name = rds.required("route_config_name")
        decoding.routes.add(name)
        return name, None
    if kind == "route_config":
        return None, decode_route_configuration(fields.must("route_config"), decoding)
    raise fields.reject(kind or "rds", "routes must come by rds or route_config")


def _decode_client_identity(fields: Fields) -> None:
    """`x-forwarded-client-cert` is sanitised at every mTLS hop and set from the proven identity, in any of the modes
    that do not believe a client."""
    fields.only("forward_client_cert_details", _FORWARD_CERTIFICATE)
    details = fields.child("set_current_client_cert_details")
    if details is not None:
        details.informational("subject", "cert", "chain", "dns", "uri")
    if fields.value("xff_num_trusted_hops") != 0:
        raise fields.reject("xff_num_trusted_hops", "trusting addresses from a proxy in front is not supported")


def _decode_fixed(fields: Fields) -> None:
    """Settings that the sidecar has one behaviour for: that one is accepted, the others are rejected."""
    fixed = (
        ("generate_request_id", True),
        ("normalize_path", True),
    )
    for name, value in fixed:
        if fields.wrapped(name, value) is not value:
            raise fields.reject(name, f"only {str(value).lower()} is supported")
    for name in ("proxy_100_continue",):
        fields.informational(name)
    fields.only("server_header_transformation", ("OVERWRITE",))
    fields.only("path_with_escaped_slashes_action", ("IMPLEMENTATION_SPECIFIC_DEFAULT", "KEEP_UNCHANGED"))
    if fields.has("http_protocol_options"):
        options = fields.must("http_protocol_options")
        options.informational("accept_http_10", "default_host_for_http_10")


def _decode_tracing(fields: Fields) -> float | None:
    """Percent of new traces that are sampled; None: requests are not traced."""
    tracing = fields.child("tracing")
    if tracing is None:
        return None
    # A trace that a client asks for by x-client-trace-id is no feature of ours, so its share changes nothing.
    tracing.informational("client_sampling", "verbose", "max_path_tag_length")
    percents = []
    for name in ("random_sampling", "overall_sampling"):
        percent = tracing.child(name)
        value = 100.0 if percent is None else float(percent.value("value"))
        if not 0.0 <= value <= 100.0:
            raise tracing.reject(f"{name}.value", "must be from 0 to 100")
        percents.append(value)
    return min(percents)


def decode_access_log(fields: Fields) -> bool:
    """Whether records are sent to the collector. Its format is fixed: all of Envoy's fields as JSON."""
    logs = fields.children("access_log")
    for log in logs:
        log.informational("name")
        unpacked = log.unpacked("typed_config", _ACCESS_LOG_CLASSES)
        if unpacked is None:
            raise log.reject("typed_config", "is required")
        unpacked[1].informational("path", "format", "json_format", "typed_json_format", "log_format")
    return bool(logs)


def _decode_filters(fields: Fields) -> tuple[bool, tuple[PythonFilter, ...], tuple[Addon, ...]]:
    """Whether the fault filter is there, users' filters before or behind it, and addon scripts, which are next to the
    router wherever they are named; the router must be the last one."""
    kinds: list[str] = []
    filters: list[PythonFilter] = []
    addons: tuple[Addon, ...] = ()
    for each in fields.children("http_filters"):
        # What a proxy may leave out if it does not know it; this one says so of what it does not know.
        each.informational("name", "is_optional")
        unpacked = each.unpacked("typed_config", _FILTER_CLASSES)
        if unpacked is None:
            raise each.reject("typed_config", "is required")
        kind, message = unpacked
        if kind == _TYPED_STRUCT and message.text("type_url").rpartition("/")[2] == ADDON:
            if addons:
                raise each.reject("typed_config", f"is a second {ADDON}")
            addons = decode_addons(message)
        elif kind == _TYPED_STRUCT:
            filters.append(decode_python_filter(message, after_fault=_FAULT in kinds))
        elif kind not in kinds:
            kinds.append(kind)
        else:
            raise each.reject("typed_config", f"is a second {kind}")
        if kind != _ROUTER and _ROUTER in kinds:
            raise fields.reject("http_filters", "the router must be the last of them")
    if kinds not in ([_ROUTER], [_FAULT, _ROUTER]):
        raise fields.reject("http_filters", "must be fault, if at all, and then the router")
    if len(filters) > MAX_FILTERS:
        raise fields.reject("http_filters", f"has {len(filters)} filters in Python; at most {MAX_FILTERS} are allowed")
    names = [each.name for each in filters]
    if len(set(names)) != len(names):
        raise fields.reject("http_filters", "has two filters of one name")
    if len(kinds) == 1:
        # Without a fault filter all are next to the router.
        filters = [replace(each, after_fault=True) for each in filters]
    return len(kinds) == 2, tuple(filters), addons
