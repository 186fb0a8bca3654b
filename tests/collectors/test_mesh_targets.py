"""The list of targets by the control plane's stream: written, kept while nobody tells, and followed again."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from collectors.identity import Authority, Identity
from collectors.mesh_targets import FULL_METHOD, FollowedTargets
from collectors.telemetry import Telemetry
from collectors.tls import Credentials
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId
from tests.collectors.authority import COLLECTOR, DOMAIN, Mint

Eventually = Callable[..., Awaitable[None]]
ONE = [{"targets": ["10.0.0.7:15020"], "labels": {"workload": "reviews-x"}}]
TWO = [*ONE, {"targets": ["10.0.0.8:15020"], "labels": {"workload": "ratings-x"}}]


class ControlPlane:
    """The stream's other end: sends what is put in, to one stream at a time."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.lists: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.peers: list[str] = []
        self.address = "127.0.0.1:0"
        self._server: Any = None

    def tell(self, groups: Any) -> None:
        self.lists.put_nowait(json.dumps(groups).encode())

    def hang_up(self) -> None:
        self.lists.put_nowait(None)

    async def start(self) -> None:
        service, _, method = FULL_METHOD[1:].partition("/")
        self._server = grpc.aio.server()
        handler = grpc.unary_stream_rpc_method_handler(self._watch)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        pair = [(self._credentials.key_pem, self._credentials.chain_pem)]
        tls = grpc.ssl_server_credentials(pair, self._credentials.roots_pem, require_client_auth=True)
        port = self._server.add_secure_port(self.address, tls)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _watch(self, _request: bytes, context: Any) -> None:
        self.peers.append(context.auth_context()["x509_subject_alternative_name"][0].decode())
        while (data := await self.lists.get()) is not None:
            await context.write(BytesValue(value=data).SerializeToString())


class HasCredentials(Identity):
    """Without an authority to ask."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(Authority("", None, Path(), Path()), SystemClock(), random.Random(1))
        self._credentials = credentials


@pytest.fixture
def mint() -> Mint:
    return Mint()


@pytest.fixture
async def control(mint: Mint) -> AsyncIterator[ControlPlane]:
    identity = SpiffeId(DOMAIN, "remora-system", "remora-control")
    made = ControlPlane(mint.credentials(identity, dns=("remora-control.remora-system.svc",)))
    await made.start()
    yield made
    await made.stop()


class Followed:
    def __init__(self, control: ControlPlane, mint: Mint, path: Path) -> None:
        self.path = path
        self.registry = Telemetry().registry
        identity = HasCredentials(mint.credentials(COLLECTOR))
        self.targets = FollowedTargets(control.address, identity, path, self.registry, SystemClock(), random.Random(1))

    def written(self) -> Any:
        return json.loads(self.path.read_bytes()) if self.path.exists() else None

    def lists(self, outcome: str) -> float:
        name = "remora_collector_targets_lists_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0.0

    def following(self) -> bool:
        return self.registry.get_sample_value("remora_collector_targets_following") == 1.0


@pytest.fixture
async def followed(control: ControlPlane, mint: Mint, tmp_path: Path) -> AsyncIterator[Followed]:
    made = Followed(control, mint, tmp_path / "targets.json")
    async with TaskScope() as scope:
        scope.spawn(made.targets.run(), name="targets")
        yield made


async def test_each_list_is_the_file_s_content(
    control: ControlPlane, followed: Followed, eventually: Eventually
) -> None:
    control.tell(ONE)
    await eventually(lambda: followed.written() == ONE, "the first list")
    assert control.peers == [str(COLLECTOR)]
    assert followed.following()
    control.tell(TWO)
    await eventually(lambda: followed.written() == TWO, "the second list")


async def test_a_list_that_is_there_already_is_not_written_again(
    control: ControlPlane, followed: Followed, eventually: Eventually
) -> None:
    followed.path.write_text(json.dumps(ONE))
    before = followed.path.stat()
    control.tell(ONE)
    await eventually(lambda: followed.lists("same") == 1, "it is seen to be the same")
    assert followed.path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("broken", [{"targets": 5}, [{"targets": ["nowhere"]}], "x"])
async def test_what_is_no_list_leaves_the_one_of_before(
    control: ControlPlane, followed: Followed, eventually: Eventually, broken: Any
) -> None:
    control.tell(ONE)
    control.tell(broken)
    await eventually(lambda: followed.lists("refused") == 1, "it is refused")
    assert followed.written() == ONE
    control.tell(TWO)
    await eventually(lambda: followed.written() == TWO, "the next good one")


async def test_the_last_list_stays_while_the_control_plane_is_away_which_is_said_once(
    control: ControlPlane, followed: Followed, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    control.tell(ONE)
    await eventually(lambda: followed.written() == ONE, "a list")
    with caplog.at_level(logging.INFO, "remora.targets"):
        await control.stop()
        await eventually(lambda: not followed.following(), "it is noticed")
        await asyncio.sleep(1.0)  # several attempts
        assert followed.written() == ONE
        await control.start()
        control.tell(TWO)
        await eventually(lambda: followed.written() == TWO, "followed again", within=15)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert f"the control plane at {control.address} does not tell of its targets" in said[0]
    assert said[1] == "the control plane tells of its targets again"


async def test_a_stream_that_ends_well_is_begun_again_without_a_word(
    control: ControlPlane, followed: Followed, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "remora.targets"):
        control.tell(ONE)
        control.hang_up()
        control.tell(TWO)
        await eventually(lambda: followed.written() == TWO, "the next stream's list")
    assert len(control.peers) == 2
    assert not caplog.records
