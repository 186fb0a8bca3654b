import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.console.control import ControlPlane, ControlRefused, ControlUnavailable

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
    client = ControlPlane(state)
    yield client
    await client.close()


async def test_rules_are_applied_listed_and_deleted(plane: ControlPlane, control: Any) -> None:
    planned = await plane.apply("x.yaml", RULE, dry_run=True)
    assert [change.action for change in planned.changes] == ["created"]
    assert all(resource.kind == "Workload" for resource in await plane.resources())
    await plane.apply("x.yaml", RULE, dry_run=False)
    assert ("VirtualService", "default", "reviews") in [resource.key for resource in await plane.resources()]
    await plane.delete("VirtualService", "default", "reviews")
    assert all(resource.kind == "Workload" for resource in await plane.resources())


async def test_violations_come_with_their_lines(plane: ControlPlane, control: Any) -> None:
    with pytest.raises(ControlRefused) as refused:
        await plane.apply("x.yaml", RULE + "  nonsense: 1\n", dry_run=True)
    assert [(one.line, one.path) for one in refused.value.violations] == [(8, "spec.nonsense")]


async def test_deleting_what_is_gone_is_refused_in_words(plane: ControlPlane, control: Any) -> None:
    with pytest.raises(ControlRefused) as refused:
        await plane.delete("VirtualService", "default", "gone")
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
    assert "does not accept the token" in str(error.value)
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
