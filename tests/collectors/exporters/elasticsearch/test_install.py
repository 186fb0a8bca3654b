"""Templates and retention: installed once, never over something newer or somebody else's."""

import copy
import logging
from typing import Any

import pytest

from collectors.exporters.elasticsearch.templates import VERSION
from collectors.exporters.sink import Unavailable
from collectors.records import Batch
from tests.collectors.build import log
from tests.collectors.exporters.elasticsearch.backend import Backend, Call, error
from tests.collectors.exporters.elasticsearch.sinks import Sinks

BATCH = Batch(logs=[log("a/1", "x")])
ALL = {
    "/_ilm/policy/remora",
    "/_component_template/remora-mappings",
    "/_component_template/remora-settings",
    "/_index_template/logs-remora",
    "/_index_template/metrics-remora",
}


def puts(backend: Backend) -> list[str]:
    return [call.path for call in backend.calls if call.method == "PUT"]


async def send(backend: Backend, **settings: Any) -> None:
    async with Sinks().open(backend.url, **{"retention": {}, **settings}) as sink:
        await sink.send(BATCH)


async def test_everything_is_there_before_the_first_record_and_put_once() -> None:
    async with Backend() as backend:
        await send(backend)
        assert set(puts(backend)) == ALL
        first = [call.path for call in backend.calls].index("/_bulk")
        assert all(call.path in ("/_bulk", *ALL) or "_settings" in call.path for call in backend.calls)
        assert not any(call.method == "PUT" for call in backend.calls[first:])
        await send(backend)
        assert len(puts(backend)) == len(ALL)


async def test_a_change_of_settings_is_put_and_a_user_s_change_left() -> None:
    async with Backend() as backend:
        await send(backend)
        path = "/_component_template/remora-settings"
        backend.installed[path]["template"]["settings"]["index"]["refresh_interval"] = "30s"
        await send(backend)
        assert len(puts(backend)) == len(ALL)
        await send(backend, retention={"delete_after": "7d"}, replicas=0)
        assert puts(backend)[len(ALL) :] == ["/_ilm/policy/remora", path]
        index = backend.installed[path]["template"]["settings"]["index"]
        assert index["number_of_replicas"] == 0
        phases = backend.installed["/_ilm/policy/remora"]["policy"]["phases"]
        assert phases["delete"] == {"min_age": "604800s", "actions": {"delete": {}}}


async def test_older_ones_are_replaced_and_newer_ones_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Backend() as backend:
        await send(backend)
        ours = copy.deepcopy(backend.installed)
        for step in (-1, 1):
            backend.calls.clear()
            for path, body in copy.deepcopy(ours).items():
                holder = body.get("policy", body)
                holder["_meta"]["version"] = VERSION + step
                backend.installed[path] = body
            await send(backend)
            assert set(puts(backend)) == (ALL if step < 0 else set())
    assert f"leaving the ILM policy remora of version {VERSION + 1}, newer than ours ({VERSION})" in caplog.text


@pytest.mark.parametrize("path", sorted(ALL))
async def test_what_somebody_else_made_is_not_touched(path: str) -> None:
    async with Backend() as backend:
        await send(backend)
        body = backend.installed[path]
        body.get("policy", body).pop("_meta")
        backend.calls.clear()
        with pytest.raises(Unavailable, match=rf"there is a .*{path.rpartition('/')[2]} that Remora did not make"):
            await send(backend)
        assert puts(backend) == []
        assert backend.sent("/_bulk") == []


@pytest.mark.parametrize(
    ("path", "privilege"),
    [
        ("/_ilm/policy/remora", "manage_ilm"),
        ("/_component_template/remora-mappings", "manage_index_templates"),
        ("/_index_template/logs-remora", "manage_index_templates"),
    ],
)
async def test_a_privilege_that_is_missing_is_named(
    path: str, privilege: str, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(call: Call) -> Any:
        if call.path == path:
            return error(403, "security_exception", "action is unauthorized for user [collector]")
        return None

    async with Backend() as backend:
        backend.answers.append(denied)
        with pytest.raises(Unavailable, match=f"grant the cluster privilege {privilege}, or install it yourself"):
            await send(backend)
        assert backend.sent("/_bulk") == []
        assert "grant the cluster privilege" in caplog.text
        backend.answers.clear()
        await send(backend)
        assert len(backend.sent("/_bulk")) == 1


async def test_without_ilm_the_settings_say_what_to_write() -> None:
    async with Backend() as backend:
        backend.answers.append(
            lambda call: error(405, "x", "Incorrect HTTP method") if call.path.startswith("/_ilm") else None
        )
        with pytest.raises(Unavailable, match=r"has no ILM; set `retention: \{type: data_stream\}`"):
            await send(backend)
        await send(backend, retention={"type": "data_stream", "delete_after": "3d"})
        template = backend.installed["/_component_template/remora-settings"]["template"]
        assert template["lifecycle"] == {"data_retention": "259200s"}


async def test_without_setup_nothing_is_installed() -> None:
    async with Backend() as backend:
        await send(backend, setup=False)
        assert puts(backend) == []
        assert len(backend.sent("/_bulk")) == 1
