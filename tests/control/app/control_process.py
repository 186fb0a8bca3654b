"""A real `remora control` in a process of its own, and what a test says to it."""

import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.csr import FULL_METHOD, CertificateRequest, CertificateResponse
from tests.control.ca.requests import csr, ec_key

CONTROL_NAME = "remora-control.remora-system.svc"


class Reach:
    """What a client of a control plane needs: where it is and whom to trust."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ready: dict[str, str] = {}

    def root_pem(self) -> bytes:
        return (self.state / "ca" / "root.pem").read_bytes()

    def channel(self, where: str, credentials: "Credentials | None" = None) -> grpc.aio.Channel:
        tls = grpc.ssl_channel_credentials(
            self.root_pem(), credentials.key if credentials else None, credentials.chain if credentials else None
        )
        options = (
            ("grpc.ssl_target_name_override", CONTROL_NAME),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        )
        return grpc.aio.secure_channel(self.ready[where], tls, options)

    async def first_certificate(self, token: str, key: ec.EllipticCurvePrivateKey | None = None) -> "Credentials":
        key = key or ec_key()
        async with self.channel("csr") as channel:
            return await create_certificate(channel, key, token)


class ControlProcess(Reach):
    """Started with any free ports, or after a restart with the same ones."""

    def __init__(self, state: Path, *flags: str) -> None:
        super().__init__(state)
        self.flags = flags
        self.process: asyncio.subprocess.Process | None = None
        self.inherited: tuple[int, ...] = ()
        """Descriptors besides the ready pipe."""
        self.log = state.parent / f"{state.name}.log"

    async def start(self) -> None:
        ports = {
            flag: self.ready[name].rpartition(":")[2] if self.ready else "0"
            for flag, name in (("--ads-port", "ads"), ("--csr-port", "csr"), ("--rest-port", "rest"))
        }
        reading, writing = os.pipe()
        arguments = [part for pair in ports.items() for part in pair]
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "remora", "control", "--state", str(self.state), "--laptop", *arguments,
                *self.flags, "--ready-fd", str(writing),
                pass_fds=(writing, *self.inherited), stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        os.close(writing)
        with open(reading, "rb") as file:
            line = await asyncio.wait_for(asyncio.to_thread(file.readline), 20)
        assert line, f"not ready: {self.log.read_text()}"
        self.ready = json.loads(line)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 10)

    def rest(self, **options: Any) -> httpx.AsyncClient:
        token = (self.state / "admin.token").read_text()
        context = ssl.create_default_context(cafile=str(self.state / "ca" / "root.pem"))
        headers = {"authorization": f"Bearer {token}"} | options.pop("headers", {})
        return httpx.AsyncClient(base_url=self.ready["rest"], verify=context, headers=headers, timeout=20, **options)


class Credentials:
    """A key and the chain that the control plane gave for it, PEM."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, chain: tuple[str, ...]) -> None:
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.chain = "".join(chain).encode()


async def create_certificate(
    channel: grpc.aio.Channel, key: ec.EllipticCurvePrivateKey, token: str | None, validity_s: int = 0
) -> Credentials:
    call = channel.unary_unary(
        FULL_METHOD,
        request_serializer=CertificateRequest.to_bytes,
        response_deserializer=CertificateResponse.from_bytes,
    )
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    response = await call(CertificateRequest(csr(key), validity_s), metadata=metadata, timeout=10)
    return Credentials(key, response.cert_chain)


def workload(name: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    """A registration as the supervisor sends it; `number` makes its ports differ from others'."""
    service, _, version = name.partition("-")
    return {
        "name": name,
        "namespace": "default",
        "service": service,
        "version": version or "v1",
        "service_account": f"bookinfo-{service}",
        "labels": {"app": service},
        "ports": [{"name": "http", "service_port": 9080, "app": f"127.0.0.1:{20_000 + number}"}],
        "inbound": f"127.0.0.1:{30_000 + number}",
        "outbound": f"127.0.0.1:{40_000 + number}",
        "admin": f"http://127.0.0.1:{50_000 + number}",
        "metrics": f"127.0.0.1:{55_000 + number}",
    } | changes
