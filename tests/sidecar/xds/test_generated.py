"""What our control plane generates, our sidecar understands whole."""

from pathlib import Path

import pytest

from control.generate import TYPES, generate
from control.ir.proxy import ProxyKind
from sidecar.xds.configuration import Configuration
from sidecar.xds.kinds import Kind
from tests.control.translate.pods import of_case
from tests.sidecar.xds.authority import TestAuthority
from tests.sidecar.xds.control_plane import ControlPlane
from tests.sidecar.xds.resources import anchors, pack

CASES = sorted(Path(__file__).parents[2].joinpath("control/generate/cases").glob("*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_the_golden_cases_are_accepted_and_whole(path: Path) -> None:
    rules = path.read_text().partition("--- # expected\n")[0]
    mesh, proxy = of_case(rules)
    snapshot = generate(mesh, proxy)
    control_plane = ControlPlane(gateway=proxy.kind is ProxyKind.GATEWAY)
    for short, url in TYPES.items():
        control_plane.has(Kind[short], *snapshot.resources[url].values())
    # The sample mesh's root is made up; anchors that are no certificates would rightly be refused.
    pem = TestAuthority().pem
    control_plane.has(Kind.SDS, *(pack(Kind.SDS, anchors(name, pem)) for name in snapshot.resources[TYPES["SDS"]]))
    configuration = control_plane.run()
    assert control_plane.nacks == []
    assert isinstance(configuration, Configuration)
    assert {cluster.name for cluster in configuration.clusters} == set(snapshot.resources[TYPES["CDS"]])
    assert {listener.name for listener in configuration.listeners} == set(snapshot.resources[TYPES["LDS"]])
    assert control_plane.ads.waiting_for == ()
