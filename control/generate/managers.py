"""HTTP connection managers as every listener has them, and the access log that TCP proxies have too."""

import functools

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from control.generate.pack import pack
from control.ir.settings import MeshSettings

_ACCESS_FORMAT = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}


def http_manager(prefix: str, settings: MeshSettings) -> HttpConnectionManager:
    """Everything but where the routes come from."""
    manager = HttpConnectionManager(
        stat_prefix=prefix,
        server_name="remora",
        http_filters=[
            _http_filter("envoy.filters.http.fault", HTTPFault()),
            _http_filter("envoy.filters.http.router", Router()),
        ],
    )
    # Policy, route and application must see the same path.
    manager.normalize_path.value = True
    manager.use_remote_address.value = False
    manager.upgrade_configs.add(upgrade_type="websocket")
    manager.http2_protocol_options.allow_connect = True  # WebSocket too comes so by HTTP/2
    manager.tracing.random_sampling.value = settings.sampling_percent
    if settings.access_log:
        manager.access_log.append(access_log())
    return manager


def http_filter(manager: HttpConnectionManager) -> Filter:
    """The network filter of a connection manager."""
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def _http_filter(name: str, message: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=pack(message))


@functools.cache
def access_log() -> AccessLog:
    """One JSON object a line. Our sidecar takes its presence as "send records to the collector"."""
    form = Struct()
    form.update(_ACCESS_FORMAT)
    log = FileAccessLog(path="/dev/stdout", log_format=SubstitutionFormatString(json_format=form))
    return AccessLog(name="envoy.access_loggers.file", typed_config=pack(log))
