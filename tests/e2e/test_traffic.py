"""A pod whose sidecar follows the cluster: endpoints, rules, and an API server that goes away and comes back."""

import json

from tests.e2e.api_server import ApiServer
from tests.e2e.cluster import until
from tests.e2e.control import LeastPrivileged
from tests.e2e.fake_server import FakeInThread
from tests.e2e.scene import LIVE_S, Scene


def test_endpoints_that_change_are_at_the_sidecar_within_a_second(scene: Scene) -> None:
    took = [
        scene.live(
            lambda name=name: scene.pods.endpoints("reviews", scene.addresses[name]),  # type: ignore[misc]
            (200, name),
            scene.answered_by,
            10,
        )
        for name in ("two", "one", "two", "one")
    ]
    print(f"endpoints live after {', '.join(f'{each * 1000:.0f} ms' for each in took)}")
    assert max(took) < LIVE_S


def test_a_rule_that_is_applied_is_live_within_a_second_and_gone_as_soon(scene: Scene) -> None:
    cluster = scene.cluster
    took = [
        scene.live(lambda: cluster.apply(scene.rule(418)), (418, ""), scene.answered_by, 10),
        scene.live(lambda: cluster.apply(scene.rule(451)), (451, ""), scene.answered_by, 10),
        scene.live(lambda: cluster.delete("VirtualService", "reviews", "default"), (200, "one"), scene.answered_by, 10),
    ]
    print(f"rules live after {', '.join(f'{each * 1000:.0f} ms' for each in took)}")
    assert max(took) < LIVE_S


def test_the_client_speaks_with_a_certificate_of_its_service_account(scene: Scene, control: LeastPrivileged) -> None:
    proxies = control.get("/v1/status").json()["proxies"]
    (client,) = (each for each in proxies if each["workload"] == "client")
    assert client["connected"]
    assert '"identity":"spiffe://cluster.local/ns/default/sa/client-account"' in control.said()


def test_the_command_beside_the_control_plane_knows_the_sidecar(scene: Scene, control: LeastPrivileged) -> None:
    said = control.command("status", "-o", "json")
    assert said.returncode == 0, said.stderr
    (client,) = (each for each in json.loads(said.stdout)["proxies"] if each["workload"] == "client")
    assert client["state"] == "synced"
    refused = control.command("apply", "-f", "-", text=json.dumps(scene.rule(418)))
    assert refused.returncode == 1
    assert 'grant verb "patch" on resource "virtualservices"' in refused.stderr


def test_traffic_goes_on_without_the_api_server_and_rules_come_again_with_it(
    scene: Scene, control: LeastPrivileged
) -> None:
    server = scene.cluster.server
    assert isinstance(server, ApiServer | FakeInThread), "the fixture `pods` has skipped others"
    assert control.process is not None
    for compacted in (False, True):
        with scene.cluster.place.entered():
            server.stop_server()
            assert scene.answered_by() == (200, "one")
            assert control.get("/readyz").status_code == 200
            until(lambda: "cannot be reached" in control.said() or "Unreachable" in control.said(), "it is said")
            server.start_server()
            if compacted:
                server.compact()
        rule = scene.rule(503 + compacted)
        back = scene.live(lambda rule=rule: scene.cluster.apply(rule), (503 + compacted, ""), scene.answered_by, 60)  # type: ignore[misc]
        print(f"{'restarted and compacted' if compacted else 'restarted'}: rule live after {back:.2f} s")
        scene.live(lambda: scene.cluster.delete("VirtualService", "reviews", "default"), (200, "one"),
                   scene.answered_by, 10)  # fmt: skip
    assert control.process.poll() is None
