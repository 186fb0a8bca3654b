import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.console.control import ControlConflict, ControlPlane, ControlRefused, ControlUnavailable
from dashboards.console.doors import ClusterDoor, StateDoor

KEY = ("VirtualService", "default", "reviews")
RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts: [reviews]
"""


@pytest.fixture
async def plane(state: Path) -> AsyncIterator[ControlPlane]:
    client = ControlPlane(StateDoor(state))
    yield client
    await client.close()


async def test_rules_are_applied_listed_and_deleted(plane: ControlPlane, control: Any) -> None:
    planned = await plane.apply("x.yaml", RULE, {}, dry_run=True)
    assert [(change.action, change.etag) for change in planned.changes] == [("created", "")]
    assert (await plane.rules()).rules == ()
    await plane.apply("x.yaml", RULE, {KEY: ""}, dry_run=False)
    (rule,) = (await plane.rules()).rules
    assert rule.key == KEY
    assert (await plane.rule(KEY)).yaml == RULE
    await plane.delete(KEY, rule.etag)
    assert (await plane.rules()).rules == ()


async def test_what_somebody_else_has_changed_meanwhile_is_a_conflict(plane: ControlPlane, control: Any) -> None:
    await plane.apply("x.yaml", RULE, {}, dry_run=False)
    read = (await plane.rule(KEY)).etag
    await plane.apply("x.yaml", RULE + "  http: []\n", {}, dry_run=False)
    with pytest.raises(ControlConflict):
        await plane.apply("x.yaml", RULE, {KEY: read}, dry_run=True)
    with pytest.raises(ControlConflict):
        await plane.delete(KEY, read)


async def test_a_rule_that_is_gone_and_a_refusal_are_told_in_the_control_plane_s_words(
    plane: ControlPlane, control: Any, state: Path
) -> None:
    with pytest.raises(ControlUnavailable, match="VirtualService default/reviews is not stored"):
        await plane.rule(KEY)
    (state / "read-only").touch()
    assert not (await plane.rules()).editable
    with pytest.raises(ControlUnavailable, match="the console reads rules here"):
        await plane.apply("x.yaml", RULE, {}, dry_run=True)
    assert await plane.analyze("x.yaml", RULE) == ()


async def test_violations_come_with_their_lines(plane: ControlPlane, control: Any) -> None:
    with pytest.raises(ControlRefused) as refused:
        await plane.apply("x.yaml", RULE + "  nonsense: 1\n", {}, dry_run=True)
    assert [(one.line, one.path) for one in refused.value.violations] == [(8, "spec.nonsense")]


async def test_deleting_what_is_gone_is_refused_in_words(plane: ControlPlane, control: Any) -> None:
    with pytest.raises(ControlRefused) as refused:
        await plane.delete(("VirtualService", "default", "gone"), "")
    assert refused.value.violations[0].message == "is not stored"


async def test_before_it_started_it_is_said_not_to_have(plane: ControlPlane) -> None:
    with pytest.raises(ControlUnavailable, match="has not started yet"):
        await plane.status()


async def test_a_control_plane_that_died_is_found_again_at_its_new_address(plane: ControlPlane, control: Any) -> None:
    assert (await plane.status()).count("synced") == 7
    control.stop()
    with pytest.raises(ControlUnavailable, match="not reachable"):
        await plane.status()
    control.start()
    assert (await plane.status()).count("synced") == 7


async def test_a_wrong_token_is_said_to_be_one_without_showing_it(
    plane: ControlPlane, control: Any, state: Path
) -> None:
    (state / "admin.token").write_text("another-secret")
    with pytest.raises(ControlUnavailable) as error:
        await plane.status()
    assert "does not accept our token" in str(error.value)
    assert "another-secret" not in str(error.value)


async def test_a_server_with_another_root_is_not_trusted(plane: ControlPlane, control: Any, state: Path) -> None:
    address = (state / "control.json").read_bytes()
    control.stop()
    other = state.parent / "other"
    other.mkdir(mode=0o700)
    impostor = type(control)(other)
    impostor.start()
    try:
        said = json.loads((other / "control.json").read_bytes())["rest"]
        (state / "control.json").write_text(json.dumps({**json.loads(address), "rest": said}))
        with pytest.raises(ControlUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await plane.status()
    finally:
        impostor.stop()


async def test_a_token_that_others_can_read_is_not_used(plane: ControlPlane, control: Any, state: Path) -> None:
    os.chmod(state / "admin.token", 0o644)
    with pytest.raises(ControlUnavailable, match="0644"):
        await plane.status()


@pytest.mark.parametrize(
    ("content", "why"),
    [('{"rest": "http://127.0.0.1:1"}', "not HTTPS"), ("{}", "does not say"), ("not json", "not JSON"),
     ('{"rest": 7}', "does not say"), ("[]", "does not say")],
)  # fmt: skip
async def test_an_unusable_control_json_is_explained(
    plane: ControlPlane, control: Any, state: Path, content: str, why: str
) -> None:
    (state / "control.json").write_text(content)
    with pytest.raises(ControlUnavailable, match=why):
        await plane.status()


async def test_the_environment_s_proxy_never_sees_the_token(
    plane: ControlPlane, control: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await plane.status()).proxies


async def test_in_a_cluster_a_token_that_is_renewed_is_used_from_then_on(
    control: Any, state: Path, tmp_path: Path
) -> None:
    url = json.loads((state / "control.json").read_bytes())["rest"]
    root, token = tmp_path / "root.pem", tmp_path / "token"
    plane = ControlPlane(ClusterDoor(url, root, token))
    try:
        with pytest.raises(ControlUnavailable, match="lacks a volume"):
            await plane.status()
        root.write_bytes((state / "ca" / "root.pem").read_bytes())
        token.touch(mode=0o600)
        token.write_text("an-old-one")
        with pytest.raises(ControlUnavailable, match="does not accept our token"):
            await plane.status()
        renewed = tmp_path / "renewed"
        renewed.touch(mode=0o600)
        renewed.write_bytes((state / "admin.token").read_bytes())
        renewed.rename(token)
        assert (await plane.status()).count("synced") == 7
    finally:
        await plane.close()


async def test_every_replica_is_asked_by_its_address_who_is_connected_to_it(
    control: Any, state: Path, tmp_path: Path
) -> None:
    port = json.loads((state / "control.json").read_bytes())["rest"].rpartition(":")[2]
    plane = ControlPlane(ClusterDoor(f"https://localhost:{port}", state / "ca" / "root.pem", state / "admin.token"))
    try:
        (state / "replicas.json").write_text(json.dumps([f"127.0.0.1:{port}"]))
        alone = await plane.status()
        assert (alone.count("synced"), alone.count("disconnected"), alone.silent) == (4, 3, 0)
        (state / "replicas.json").write_text(json.dumps([f"127.0.0.1:{port}", f"127.0.0.2:{port}", "127.0.0.1:1", "["]))
        all_of_them = await plane.status()
        assert (all_of_them.count("synced"), all_of_them.count("disconnected"), all_of_them.silent) == (7, 0, 2)
    finally:
        await plane.close()
