"""Calls of an API server: what is asked, what every failure says, and what is bounded."""

import asyncio
import json
import logging
from pathlib import Path

import orjson
import pytest

from control.kubernetes.client import MAX_ANSWER_BYTES, KubeClient
from control.kubernetes.credentials import connect
from control.kubernetes.errors import ApiError, ClusterUnusable
from control.kubernetes.resources import CONFIG_MAPS, NAMESPACES, SECRETS, ApiResource, Call
from mesh.clock import SystemClock
from tests.kubernetes.api_server import FakeApiServer

DEPLOYMENTS = ApiResource("apps", "v1", "deployments")


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


async def connected(
    server: FakeApiServer, directory: Path, token: str = "admin", *, max_answer_bytes: int = MAX_ANSWER_BYTES
) -> KubeClient:
    path = directory / f"{token}.kubeconfig"
    path.write_bytes(orjson.dumps(server.kubeconfig(token)))
    return await connect(SystemClock(), kubeconfig=str(path), max_answer_bytes=max_answer_bytes)


def test_paths_are_those_of_the_api() -> None:
    assert CONFIG_MAPS.path() == "/api/v1/configmaps"
    assert CONFIG_MAPS.path("a", "b") == "/api/v1/namespaces/a/configmaps/b"
    assert DEPLOYMENTS.path("a", "b", "status") == "/apis/apps/v1/namespaces/a/deployments/b/status"
    assert NAMESPACES.path("ignored", "b") == "/api/v1/namespaces/b"
    assert CONFIG_MAPS.path("a/../b", "c?d") == "/api/v1/namespaces/a%2F..%2Fb/configmaps/c%3Fd"


async def test_what_is_created_is_found_changed_and_gone(kube: KubeClient) -> None:
    made = await kube.create(CONFIG_MAPS, config_map("a", x="1"), "default")
    assert (await kube.get(CONFIG_MAPS, "a", "default"))["data"] == {"x": "1"}
    await kube.update(CONFIG_MAPS, "a", made | {"data": {"x": "2"}}, "default")
    await kube.patch(CONFIG_MAPS, "a", {"data": {"y": "3"}}, "default")
    assert [each["data"] for each in (await kube.list(CONFIG_MAPS, "default"))["items"]] == [{"x": "2", "y": "3"}]
    await kube.delete(CONFIG_MAPS, "a", "default")
    assert await kube.find(CONFIG_MAPS, "a", "default") is None


async def test_a_second_create_and_a_stale_update_are_told_apart(kube: KubeClient) -> None:
    made = await kube.create(CONFIG_MAPS, config_map("a"), "default")
    with pytest.raises(ApiError) as caught:
        await kube.create(CONFIG_MAPS, config_map("a"), "default")
    assert caught.value.exists
    assert not caught.value.conflict
    await kube.update(CONFIG_MAPS, "a", made | {"data": {"x": "2"}}, "default")
    with pytest.raises(ApiError) as caught:
        await kube.update(CONFIG_MAPS, "a", made | {"data": {"x": "3"}}, "default")
    assert caught.value.conflict
    assert not caught.value.exists


async def test_a_forbidden_call_names_the_permission_to_grant(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.access.forbidden.add(("get", "", "secrets"))
    with pytest.raises(ApiError) as caught:
        await kube.get(SECRETS, "remora-ca", "remora-system")
    assert caught.value.forbidden
    assert str(caught.value) == (
        "get secrets remora-ca of namespace remora-system is forbidden; grant "
        'verb "get" on resource "secrets" of API group "" in namespace remora-system'
    )


async def test_a_server_that_is_away_is_said_in_one_line(kube: KubeClient, api_server: FakeApiServer) -> None:
    await api_server.stop()
    with pytest.raises(ApiError) as caught:
        await kube.list(DEPLOYMENTS)
    assert caught.value.unreachable
    assert caught.value.passing
    assert str(caught.value).startswith("list deployments.apps: Unreachable: http://127.0.0.1:")
    assert "\n" not in str(caught.value)


async def test_a_server_that_is_silent_is_not_waited_for(kube: KubeClient, api_server: FakeApiServer) -> None:
    hold = api_server.faults.hold()
    with pytest.raises(ApiError) as caught:
        await kube.list(CONFIG_MAPS, timeout_s=0.1)
    assert (caught.value.status, caught.value.reason) == (0, "Timeout")
    hold.release()


async def test_retry_after_is_handed_on(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.faults.refuse(429, retry_after_s=7)
    with pytest.raises(ApiError) as caught:
        await kube.list(CONFIG_MAPS)
    assert caught.value.passing
    assert caught.value.retry_after_s == 7


async def test_an_answer_without_end_is_cut(kube: KubeClient, api_server: FakeApiServer, tmp_path: Path) -> None:
    await kube.create(CONFIG_MAPS, config_map("a", x="y" * 5000), "default")
    strict = await connected(api_server, tmp_path, max_answer_bytes=1000)
    try:
        with pytest.raises(ApiError) as caught:
            await strict.get(CONFIG_MAPS, "a", "default")
    finally:
        await strict.close()
    assert caught.value.reason == "TooLarge"


async def test_an_exchanged_token_is_read_again_when_the_old_one_is_refused(
    api_server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "control.kubernetes")
    first, second = api_server.access.issue("default", "a"), api_server.access.issue("default", "a")
    (tmp_path / "token").write_text(first)
    config = api_server.kubeconfig()
    config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    (tmp_path / "config").write_bytes(orjson.dumps(config))
    client = await connect(SystemClock(), kubeconfig=str(tmp_path / "config"))
    try:
        await client.list(CONFIG_MAPS, "default")
        api_server.access.revoke(first)
        (tmp_path / "token").write_text(second)
        await client.list(CONFIG_MAPS, "default")
        assert "read again" in caplog.text
        assert second not in caplog.text
        api_server.access.revoke(second)
        for _ in range(3):
            with pytest.raises(ApiError) as caught:
                await client.list(CONFIG_MAPS, "default")
            assert caught.value.status == 401
    finally:
        await client.close()


async def test_tls_is_verified_by_the_kubeconfigs_authority(tmp_path: Path) -> None:
    async with FakeApiServer(tls=True) as server, FakeApiServer(tls=True) as other:
        client = await connected(server, tmp_path)
        assert (await client.list(NAMESPACES))["items"]
        await client.close()
        mixed = server.kubeconfig()
        mixed["clusters"][0]["cluster"]["server"] = other.url
        (tmp_path / "mixed").write_bytes(orjson.dumps(mixed))
        client = await connect(SystemClock(), kubeconfig=str(tmp_path / "mixed"))
        with pytest.raises(ApiError) as caught:
            await client.list(NAMESPACES)
        assert caught.value.unreachable
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
        await client.close()


async def test_a_watch_is_a_stream_of_lines_and_ends_with_the_server(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    version = (await kube.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    call = Call("watch", CONFIG_MAPS, "default")

    async def follow() -> None:
        async with kube.stream(call, params={"watch": "true", "resourceVersion": version}) as lines:
            await kube.create(CONFIG_MAPS, config_map("a"), "default")
            event = json.loads(await lines.readline())
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
            api_server.faults.cut_watches()
            while await lines.readline():
                pass

    with pytest.raises(ApiError) as caught:
        await follow()
    assert caught.value.unreachable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there; say where it is: --kubeconfig FILE"),
        ("{", "while parsing"),
        ("{}", "current-context"),
        ('{"current-context": "x", "contexts": []}', "x"),
    ],
    ids=["missing", "no YAML", "empty", "names a context that is not there"],
)
async def test_a_kubeconfig_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClusterUnusable) as caught:
        await connect(SystemClock(), kubeconfig=str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_outside_a_pod_a_kubeconfig_is_asked_for() -> None:
    with pytest.raises(ClusterUnusable, match="give --kubeconfig FILE"):
        await connect(SystemClock())


async def test_calls_at_the_same_time_do_not_wait_for_each_other(kube: KubeClient, api_server: FakeApiServer) -> None:
    hold = api_server.faults.hold(lambda asked: asked.name == "slow")
    slow = asyncio.ensure_future(kube.find(CONFIG_MAPS, "slow", "default"))
    assert await kube.find(CONFIG_MAPS, "quick", "default") is None
    assert not slow.done()
    hold.release()
    assert await slow is None


async def test_in_a_pod_the_service_accounts_files_are_all_that_is_needed_and_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeApiServer(tls=True) as server:
        host, port = server.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        first, second = (server.access.issue("remora-system", "remora-control") for _ in range(2))
        (tmp_path / "ca.crt").write_text(server.ca_pem)
        (tmp_path / "token").write_text(first)
        client = await connect(SystemClock(), service_account=tmp_path)
        try:
            assert (await client.list(NAMESPACES))["items"]
            (tmp_path / "token").write_text(second)  # as the kubelet does before it expires
            server.access.revoke(first)
            assert (await client.list(NAMESPACES))["items"]
        finally:
            await client.close()
        assert {asked.user for asked in server.asked} == {"system:serviceaccount:remora-system:remora-control"}
