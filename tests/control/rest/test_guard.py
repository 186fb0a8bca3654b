"""Who may call, by which name, and how much they may send."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from control.rest.guard import MAX_BODY_BYTES, UnusableToken, open_token
from tests.control.app.control_process import workload

PATHS = [
    ("POST", "/v1/apply"),
    ("POST", "/v1/delete"),
    ("POST", "/v1/analyze"),
    ("GET", "/v1/resources/all"),
    ("GET", "/v1/resources/vs/default/a"),
    ("GET", "/v1/status"),
    ("POST", "/v1/workloads"),
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/workloads/default/a"),
    ("GET", "/v1/config/default/a/listeners"),
    ("GET", "/v1/prometheus/targets"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="no token"),
        pytest.param([("authorization", "Bearer wrong")], id="a wrong token"),
        pytest.param([("authorization", "Basic Zm9vOmJhcg==")], id="another scheme"),
        pytest.param([("authorization", "Bearer a"), ("authorization", "Bearer b")], id="two tokens"),
    ],
)
async def test_nothing_is_answered_without_the_token(
    transport: httpx.ASGITransport, method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost:3") as client:
        answer = await client.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_health_and_counters_need_none(transport: httpx.ASGITransport, path: str) -> None:
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost:3") as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:15014", "", "localhost.evil"])
async def test_a_foreign_host_is_misdirected_though_the_token_is_right(rest: httpx.AsyncClient, host: str) -> None:
    assert (await rest.get("/v1/status", headers={"host": host})).status_code == 421


@pytest.mark.parametrize(
    ("host", "status"), [("10.1.2.3:15014", 200), ("[fd00::1]:15014", 200), ("10.1.2.3.evil", 421)]
)
async def test_a_scraper_may_ask_for_counters_by_an_address_and_for_nothing_else(
    rest: httpx.AsyncClient, host: str, status: int
) -> None:
    assert (await rest.get("/metrics", headers={"host": host})).status_code == status
    assert (await rest.get("/v1/status", headers={"host": host})).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:15014", "[::1]:15014"])
async def test_its_own_names_are_fine(rest: httpx.AsyncClient, host: str) -> None:
    assert (await rest.get("/v1/status", headers={"host": host})).status_code == 200


async def test_a_body_over_the_limit_is_413_announced_or_not(rest: httpx.AsyncClient) -> None:
    too_much = b"x" * (MAX_BODY_BYTES + 1)
    assert (await rest.post("/v1/apply", content=too_much)).status_code == 413

    async def chunks() -> object:
        for _ in range(21):
            yield b"x" * 1024 * 1024

    assert (await rest.post("/v1/apply", content=chunks())).status_code == 413  # type: ignore[arg-type]
    assert (await rest.get("/v1/status")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[" * 100_000, id="deep JSON"),
        pytest.param(b'{"files": "x"}', id="a wrong type"),
        pytest.param(b'{"files": [], "extra": 1}', id="an unknown field"),
        pytest.param(b'{"files": []}', id="no files"),
        pytest.param(b'{"files": [{"name": "a", "text": "\\ud800"}]}', id="a lone surrogate"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
    ],
)
async def test_malformed_bodies_are_4xx(rest: httpx.AsyncClient, body: bytes) -> None:
    answer = await rest.post("/v1/apply", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()


def test_a_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    token = open_token(path)
    assert len(token) == 43
    assert open_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(UnusableToken, match="chmod 0600"):
        open_token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(UnusableToken, match="less than 32"):
        open_token(path)


async def test_registration_answers_with_all_that_a_sidecar_needs(rest: httpx.AsyncClient) -> None:
    answer = await rest.post("/v1/workloads", json=workload("reviews-v1"))
    body = answer.json()
    assert set(body) == {"token", "node_id", "identity", "ads", "csr", "root_pem"}
    assert body["identity"] == "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    assert body["node_id"].startswith("sidecar~127.0.0.1~reviews-v1.default~")
    assert "BEGIN CERTIFICATE" in body["root_pem"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/workloads", workload("a") | {"namespace": "remora-system", "service_account": "remora-control"}),
        ("/v1/workloads", workload("a") | {"unknown": 1}),
        ("/v1/workloads", {}),
        ("/v1/tokens", {"service_account": "remora-control"}),
        ("/v1/tokens", {"namespace": "default", "service_account": "a"}),
        ("/v1/tokens", {"service_account": "../x"}),
    ],
)
async def test_identities_that_nobody_may_take_are_refused(
    rest: httpx.AsyncClient, path: str, body: dict[str, object]
) -> None:
    assert (await rest.post(path, json=body)).status_code in (400, 422)


async def test_a_component_gets_a_token(rest: httpx.AsyncClient) -> None:
    answer = await rest.post("/v1/tokens", json={"service_account": "remora-collector"})
    assert answer.status_code == 201
    assert set(answer.json()) == {"token", "identity", "ads", "csr", "root_pem"}


async def test_a_workloads_configuration_is_shown_without_secrets(
    rest: httpx.AsyncClient, eventually: Callable[..., Awaitable[None]]
) -> None:
    await rest.post("/v1/workloads", json=workload("reviews-v1"))

    async def section(name: str) -> httpx.Response:
        return await rest.get(f"/v1/config/default/reviews-v1/{name}")

    async def is_planned() -> bool:
        return (await section("listeners")).status_code == 200

    await eventually(is_planned, "the workload's configuration")
    for name, expected in {
        "listeners": "virtualInbound",
        "routes": "outbound",
        "clusters": "outbound|9080||reviews.default.svc.cluster.local",
        "endpoints": "outbound|9080||reviews.default.svc.cluster.local",
        "secrets": "ROOTCA",
    }.items():
        answer = await section(name)
        assert expected in answer.text, name
        assert "PRIVATE KEY" not in answer.text
        assert all("@type" in resource for resource in answer.json()["resources"])
    assert (await section("passwords")).status_code == 404
    assert (await rest.get("/v1/config/default/nobody/listeners")).status_code == 404


async def test_metrics_are_named_as_operators_know_them(rest: httpx.AsyncClient) -> None:
    text = (await rest.get("/metrics")).text
    for name in (
        "pilot_xds ",
        'pilot_xds_pushes{type="cds"}',
        "pilot_total_xds_rejects ",
        "pilot_proxy_convergence_time_bucket",
        "pilot_services ",
        "citadel_server_csr_count ",
        "citadel_server_root_cert_expiry_timestamp ",
        'remora_control_rules{kind="VirtualService"}',
        "process_resident_memory_bytes",
    ):
        assert name in text, name


def test_redaction_reaches_every_depth() -> None:
    from control.debug.dump import _redact

    dumped = {"a": [{"privateKey": {"inlineString": "k"}, "name": "n"}]}
    assert json.dumps(_redact(dumped)) == '{"a": [{"privateKey": "[redacted]", "name": "n"}]}'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("admin", "javascript:alert(1)"),
        ("admin", "JavaScript://127.0.0.1/%0aalert(1)"),
        ("admin", "data:text/html,x"),
        ("admin", "//127.0.0.1:1"),
        ("admin", "127.0.0.1:1"),
        ("admin", "http://"),
        ("admin", "http://evil.example:15000"),
        ("admin", "http://169.254.169.254"),
        ("admin", "http://127.0.0.1@evil.example"),
        ("admin", "http://user:password@127.0.0.1:1"),
        ("admin", "http://evil.example\\@127.0.0.1:1"),
        ("admin", "http://127.0.0.1:99999"),
        ("admin", "http://127.0.0.1:1/x?y"),
        ("admin", "http://[::1"),
        ("admin", "http://127.0.0.1:1\n"),
        ("metrics", "evil.example:1"),
        ("metrics", "169.254.169.254:80"),
        ("metrics", "127.0.0.1"),
    ],
)
async def test_a_sidecar_s_pages_elsewhere_or_of_another_scheme_are_refused_with_their_path(
    rest: httpx.AsyncClient, field: str, value: str
) -> None:
    answer = await rest.post("/v1/workloads", json=workload("reviews-v1") | {field: value})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"{field}: ")
    assert (await rest.get("/v1/resources/workloads")).json() == {"resources": []}


@pytest.mark.parametrize("value", ["", "http://127.0.0.1:15000", "https://localhost:15000/", "http://[::1]:15000"])
async def test_a_sidecar_s_admin_page_on_this_machine_is_fine(rest: httpx.AsyncClient, value: str) -> None:
    assert (await rest.post("/v1/workloads", json=workload("reviews-v1") | {"admin": value})).status_code == 201
