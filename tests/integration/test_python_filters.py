"""The example of docs/filters.md, applied as a user would, in a running mesh."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.store.reader import Reader
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh

DOCS = Path(__file__).parents[2] / "docs" / "filters.md"
REVIEWS = "http://reviews:9080/reviews/0"


@pytest.fixture(scope="module")
def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.S)
    assert found is not None
    return found[1]


@pytest.fixture
def filtered(mesh: RunningMesh, example: str) -> Iterator[RunningMesh]:
    with mesh.applied(example):
        yield mesh


def ask(mesh: RunningMesh, **headers: str) -> httpx.Response:
    return mesh.get_as("productpage-v1", REVIEWS, headers={name.replace("_", "-"): v for name, v in headers.items()})


def test_the_example_does_what_it_says(filtered: RunningMesh) -> None:
    refused = ask(filtered)
    assert (refused.status_code, refused.text) == (401, "say which team you are\n")
    assert ask(filtered, x_team="cars").status_code == 403
    passed = ask(filtered, x_team="books")
    assert passed.status_code == 200
    assert passed.headers["x-checked"] == "team"
    # Other paths and other workloads do not meet it.
    assert filtered.get_as("productpage-v1", "http://reviews:9080/health").status_code != 401
    assert filtered.get_as("productpage-v1", "http://details:9080/details/0").status_code == 200


def test_what_it_notes_is_in_the_access_log_and_its_replies_have_details(filtered: RunningMesh) -> None:
    ask(filtered, x_team="music")
    ask(filtered)

    def records() -> list[dict[str, Any]]:
        with contextlib.closing(Reader.open(filtered.state / "store" / "telemetry.sqlite")) as reader:
            return [entry.body for entry in reader.logs(tag="remora.access", limit=500)]

    until(lambda: any(each.get("filter_metadata") == {"team": "music"} for each in records()), "the note is stored")
    until(
        lambda: any(each["response_code_details"] == "no_team{default/require-team}" for each in records()),
        "the reply's details are stored",
    )


def test_it_is_counted(filtered: RunningMesh) -> None:
    ask(filtered)

    def counted() -> float:
        total = 0.0
        for version in ("v1", "v2", "v3"):
            page = httpx.get(filtered.info["workloads"][f"reviews-{version}"]["metrics"], trust_env=False).text
            wanted = r'^remora_filter_replies_total\{filter="default/require-team"\} (\S+)$'
            total += sum(float(value) for value in re.findall(wanted, page, re.M))
        return total

    until(lambda: counted() >= 1, "replies are counted")


def test_code_that_no_sidecar_takes_is_shown_and_the_last_good_one_serves(mesh: RunningMesh, example: str) -> None:
    with mesh.applied(example):
        broken = example.replace("super().__init__(config)", "raise RuntimeError('no database')")
        mesh.remora("apply", "-f", "-", stdin=broken)

        def rejected() -> list[dict[str, Any]]:
            found = [each for proxy in mesh.status()["proxies"] for each in proxy["rejections"]]
            return [each for each in found if "no database" in each["message"]]

        until(lambda: len(rejected()) >= 3, "every reviews sidecar says why")
        assert rejected()[0]["path"].endswith("typed_config.value.config"), rejected()[0]
        assert ask(mesh).status_code == 401
        assert ask(mesh, x_team="books").status_code == 200
        mesh.remora("apply", "-f", "-", stdin=example)
        mesh.wait_synced()


def test_a_mistake_is_told_before_anything_is_stored(mesh: RunningMesh, example: str) -> None:
    wrong = example.replace("async def on_request", "async def on_requset")
    done = mesh.attempt("apply", "-f", "-", stdin=wrong)
    assert done.returncode == 1
    line = wrong.splitlines().index("        async def on_requset(self, request):") + 1
    assert f"-:{line}: PythonFilter/require-team: spec.source: line 10" in done.stdout + done.stderr
    assert "did you mean on_request?" in done.stdout + done.stderr
    assert ask(mesh).status_code == 200


def test_a_list_of_them_says_what_runs_where(filtered: RunningMesh) -> None:
    assert "RequireTeam on app=reviews (inbound)" in filtered.remora("get", "pythonfilters")
