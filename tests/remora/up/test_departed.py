"""A workload that is gone is taken out of the mesh; one that is being restarted is not."""

from typing import Any

import pytest

from remora.client import Control
from remora.state import State
from remora.up.departed import forget_departed
from remora.up.sockets import address, listening
from tests.remora.conftest import FakeControl


def _register(control: FakeControl, name: str, inbound: str, **proxy: Any) -> None:
    spec = {"inbound": inbound, "outbound": None}
    control.answer("GET", f"/v1/resources/Workload/default/{name}", {"document": {"spec": spec}})
    control.answer("DELETE", f"/v1/workloads/default/{name}", None, status=204)
    known = control.answers.setdefault(("GET", "/v1/status"), (200, {"proxies": []}))[1]["proxies"]
    known.append({"workload": name, "namespace": "default", "kind": "sidecar", "connected": False, **proxy})


@pytest.mark.parametrize(
    ("proxy", "ours", "expected"),
    [
        pytest.param({}, set(), ["shop-v1"], id="nobody holds its port"),
        pytest.param({"connected": True}, set(), [], id="it is connected"),
        pytest.param({}, {("default", "shop-v1")}, [], id="it is our own"),
        pytest.param({"kind": "gateway"}, set(), [], id="it is a gateway"),
    ],
)
def test_who_is_forgotten(
    control: FakeControl, unused_tcp_port: int, proxy: dict[str, Any], ours: set[tuple[str, str]], expected: list[str]
) -> None:
    _register(control, "shop-v1", f"127.0.0.1:{unused_tcp_port}", **proxy)
    with Control(State(control.state)) as client:
        assert forget_departed(client, ours) == expected
    assert [path for method, path, _ in control.requests if method == "DELETE"] == [
        f"/v1/workloads/default/{name}" for name in expected
    ]


def test_a_port_that_somebody_holds_is_a_workload_that_comes_back(control: FakeControl) -> None:
    with listening() as sock, Control(State(control.state)) as client:
        _register(control, "shop-v1", address(sock))
        assert forget_departed(client, set()) == []
