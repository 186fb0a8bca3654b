"""RTDS: what a Job's sidecar is told of its application."""

from ipaddress import ip_address
from typing import Any

import pytest
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.any_pb2 import Any as AnyMessage

from sidecar.xds.ads import Ads
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import RuntimeLayer
from sidecar.xds.rejected import Rejected

LAYER = "remora.lifecycle"
NAMES = "remora.names"


def layer(name: str = LAYER, **values: Any) -> AnyMessage:
    runtime = Runtime(name=name)
    runtime.layer.update(values)
    packed = AnyMessage()
    packed.Pack(runtime)
    return packed


def test_a_layer_says_whether_the_application_has_ended() -> None:
    assert decode(Kind.RTDS, layer(finished=True)).value == RuntimeLayer(LAYER, True)
    assert decode(Kind.RTDS, layer(finished=False)).value == RuntimeLayer(LAYER, False)
    assert decode(Kind.RTDS, layer()).value == RuntimeLayer(LAYER, False)


def test_a_layer_has_the_meshs_names() -> None:
    (v4, v6), other = map(ip_address, ("10.96.0.1", "fd00::1")), ip_address("192.0.2.1")
    found = decode(Kind.RTDS, layer(NAMES, names={"a.b": "10.96.0.1 fd00::1", "*.c": "192.0.2.1"})).value
    assert found == RuntimeLayer(NAMES, names={"a.b": (v4, v6), "*.c": (other,)})
    assert decode(Kind.RTDS, layer(NAMES, names={})).value == RuntimeLayer(NAMES, names={})


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        pytest.param(layer(finished="yes"), f"RTDS {LAYER}: layer.finished: is neither true nor false", id="text"),
        pytest.param(layer(finished=True, other=1), "layer.other: is not supported", id="another key"),
        pytest.param(layer(names="a"), "layer.names: is no mapping", id="names that are a text"),
        pytest.param(layer(names={"a": 1}), "'a', which is no host with its addresses", id="a number as an address"),
        pytest.param(layer(names={"": "10.0.0.1"}), "'', which is no host", id="an empty name"),
        pytest.param(layer(names={"a": "10.0.0.1  ::"}), "'a' with '10.0.0.1  ::', no addresses", id="no addresses"),
        pytest.param(layer(name=""), "name: is required", id="no name"),
    ],
)
def test_what_is_not_understood_is_refused(packed: AnyMessage, message: str) -> None:
    with pytest.raises(Rejected) as raised:
        decode(Kind.RTDS, packed)
    assert message in str(raised.value)


def test_only_who_wants_it_asks_for_it() -> None:
    assert Kind.RTDS not in {request.kind for request in Ads().connected()}
    asked = {request.kind: request.names for request in Ads(runtime=frozenset([LAYER])).connected()}
    assert asked[Kind.RTDS] == (LAYER,)


def test_its_answer_is_applied_and_acknowledged_and_asked_for_again_on_a_new_stream() -> None:
    ads = Ads(runtime=frozenset([LAYER]))
    ads.connected()
    ads.received(Kind.CDS.value, "c", "1", [])
    ads.received(Kind.LDS.value, "l", "2", [])
    first = ads.step(0.0).configuration
    assert first is not None
    assert not first.finished
    ads.applied()
    ads.received(Kind.RTDS.value, "r", "3", [layer(finished=True)])
    second = ads.step(0.0).configuration
    assert second is not None
    assert second.finished
    (acknowledged,) = ads.applied()
    assert (acknowledged.kind, acknowledged.version, acknowledged.nonce, acknowledged.names) == (
        Kind.RTDS, "r", "3", (LAYER,),
    )  # fmt: skip
    again = {request.kind: request for request in ads.connected()}
    assert (again[Kind.RTDS].version, again[Kind.RTDS].nonce) == ("r", "")


def test_configuration_does_not_wait_for_it() -> None:
    ads = Ads(runtime=frozenset([LAYER]))
    ads.connected()
    ads.received(Kind.CDS.value, "c", "1", [])
    ads.received(Kind.LDS.value, "l", "2", [])
    assert ads.step(0.0).configuration is not None
