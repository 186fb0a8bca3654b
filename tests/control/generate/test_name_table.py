"""The mesh's names, told to sidecars that capture, and sent to those that ask."""

import pytest
from envoy.service.runtime.v3.rtds_pb2 import Runtime

from control.generate import generate
from control.generate.name_table import LAYER, name_table
from control.generate.types import RTDS
from control.ir import Mesh, MeshSettings
from tests.control.translate.bookinfo import ROOT_PEM, mesh, proxy
from tests.control.translate.pods import PODS, SERVICES

ENTRIES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mirror}
spec:
  hosts: [mirror.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 198.51.100.8}, {address: 198.51.100.9}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: looked-up}
spec:
  hosts: [www.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
"""


@pytest.fixture(scope="module")
def pods() -> Mesh:
    return mesh(*SERVICES, ENTRIES, settings=MeshSettings(root_pem=ROOT_PEM), workloads=PODS)


def names(of: Mesh) -> dict[str, str]:
    (packed,) = name_table(of).values()
    layer = Runtime.FromString(packed.value)
    assert layer.name == LAYER
    found = layer.layer["names"]
    return {host: found[host] for host in found}  # type: ignore[index]


def test_services_have_their_addresses_and_headless_ones_those_of_their_instances(pods: Mesh) -> None:
    found = names(pods)
    assert found["reviews.default.svc.cluster.local"].split(" ")[0] == "10.96.0.2"
    assert "10.0.0.5" in found["mysql.default.svc.cluster.local"].split(" ")
    assert found["mirror.example"] == "198.51.100.8 198.51.100.9"
    assert "www.example.com" not in found, "whoever knows it is asked"


def test_only_sidecars_that_capture_could_ask_for_it_and_all_are_told_the_same_bytes(pods: Mesh) -> None:
    one, other = (generate(pods, proxy(name, PODS)).resources[RTDS] for name in ("productpage-1", "reviews-1"))
    assert list(one) == [LAYER]
    assert one[LAYER] is not None
    assert one.version == other.version
    (shared,) = {id(each.base) for each in (one, other)}
    assert shared == id(name_table(pods))
