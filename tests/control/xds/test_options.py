"""gRPC ignores an option that it does not know: a misspelt one shows only when an idle mesh loses its streams."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from control.xds.server import OPTIONS

_LIBRARY = Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", [name for name, _ in OPTIONS])
def test_grpc_knows_the_option(name: str) -> None:
    assert name.encode() + b"\0" in _LIBRARY


def test_a_sidecar_may_ask_every_20_seconds_whether_we_are_there() -> None:
    assert dict(OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"] < 20_000
