"""A control plane's gRPC side in this process, on real sockets with real TLS, by a clock that tests turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control.api.workload import Workload
from control.laptop import Laptop
from control.options import Options
from control.plane import Plane
from control.translate.proxies import identity_of
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId
from tests.control.app.control_process import Credentials, Reach, workload
from tests.control.ca.requests import ec_key


class ShiftedClock(SystemClock):
    """The machine's clock, put forward by `ahead_s`."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


class Served(Reach):
    """`plane` behind two ports."""

    def __init__(self, plane: Plane, clock: ShiftedClock, state: Path) -> None:
        super().__init__(state)
        self.plane = plane
        self.clock = clock

    def register(self, name: str, number: int = 1, **changes: object) -> tuple[Workload, str]:
        """A workload and its token."""
        record = Workload.model_validate(workload(name, number, **changes))
        store, tokens = self.plane.stored.store, self.plane.stored.tokens
        self.plane.publisher.submit(store.register(record), "workload")
        token = tokens.issue(
            identity_of(record, "cluster.local"), f"{record.namespace}/{record.name}", self.clock.now()
        )
        return record, token

    def certify(self, identity: SpiffeId, life_s: float = 0) -> Credentials:
        """A certificate without asking for it."""
        key = ec_key()
        _, chain = self.plane.stored.authority.certify(identity, key.public_key(), life_s)
        return Credentials(key, chain)

    def credentials_of(self, record: Workload) -> Credentials:
        return self.certify(identity_of(record, "cluster.local"))


@asynccontextmanager
async def served(state: Path, ahead_s: float = 0.0) -> AsyncIterator[Served]:
    clock = ShiftedClock()
    clock.ahead_s = ahead_s
    options = Options(state=state, laptop=True)
    stored = Laptop(options, clock).stored
    plane = Plane(options, stored, clock)
    made = Served(plane, clock, state)
    await plane.publisher.start(stored.store.world)
    servers = {"ads": (plane.ads_server(), True), "csr": (plane.csr_server(), False)}
    for name, (server, mutual) in servers.items():
        port = server.add_secure_port("127.0.0.1:0", plane.serving.grpc_credentials(demand_certificate=mutual))
        made.ready[name] = f"127.0.0.1:{port}"
        await server.start()
    try:
        async with TaskScope() as scope:
            scope.spawn(plane.publisher.run(), name="publisher")
            yield made
    finally:
        for server, _ in servers.values():
            await server.stop(0)
        stored.store.close()
