"""A forward receiver as its settings make it, for tests: certificates in files, senders of several kinds."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.receivers.settings import ForwardListeners, Settings, build
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from collectors.tls import Credentials
from tests.collectors.authority import COLLECTOR, Mint
from tests.collectors.build import FakeClock
from tests.collectors.fakes import Sink

NAME = "collector.test"


def write(path: Path, text: str | bytes, mode: int = 0o600) -> str:
    """The path, of a file with this content."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


class Listening:
    """One receiver, with what it got."""

    def __init__(self, directory: Path, *, mint: Mint | None = None) -> None:
        self.directory = directory
        self.sink = Sink()
        self.mint = mint or Mint()
        self.credentials: Credentials | None = None
        self.telemetry = Telemetry()
        self.receiver: ForwardListeners | None = None
        self.addresses: list[tuple[str, int]] = []

    def certificate(self, name: str, *, dns: tuple[str, ...] = (NAME,), mint: Mint | None = None) -> dict[str, str]:
        """`certificate_file` and `key_file` of a new certificate, and the roots in `ca_file`."""
        credentials = (mint or self.mint).credentials(COLLECTOR, uris=(), dns=dns)
        return {
            "certificate_file": write(self.directory / f"{name}.pem", credentials.chain_pem),
            "key_file": write(self.directory / f"{name}.key", credentials.key_pem),
            "ca_file": write(self.directory / f"{name}.ca.pem", credentials.roots_pem),
        }

    async def start(self, *listeners: dict[str, Any], **settings: Any) -> None:
        """Serve; an address that is not given is any loopback port."""
        described = [{"address": "127.0.0.1:0", **listener} for listener in listeners]
        model = Settings.model_validate({"listeners": described, **settings})
        clock = FakeClock()
        context = Context(
            clock=clock,
            rng=random.Random(1),
            telemetry=self.telemetry,
            state=self.directory,
            claims=Claims(Members, self.telemetry, clock),
            credentials=None if self.credentials is None else self._present,
            stack=AsyncExitStack(),
        )
        self.receiver = build(model, context, self.sink)
        ready = await self.receiver.start()
        for number in range(len(listeners)):
            host, _, port = ready[f"forward.{number}"].rpartition(":")
            self.addresses.append((host, int(port)))

    def _present(self) -> Credentials:
        assert self.credentials is not None
        return self.credentials

    def closed_for(self, reason: str) -> float:
        """Connections that ended for this reason."""
        labels = {"receiver": "forward", "reason": reason}
        return self.telemetry.registry.get_sample_value("remora_collector_closed_connections_total", labels) or 0.0

    async def close(self) -> None:
        if self.receiver is not None:
            await self.receiver.close()
