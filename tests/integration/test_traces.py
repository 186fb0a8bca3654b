"""One page load is one trace, as the command and the console show it."""

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration import rules
from tests.integration.debian import program
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh

Shape = tuple[str, str, tuple["Shape", ...]]
"""(workload, kind, children)."""

PAGE: Shape = (
    "ingressgateway", "server", (
        ("ingressgateway", "client", (
            ("productpage-v1", "server", (
                ("productpage-v1", "client", (
                    ("details-v1", "server", ()),
                )),
                ("productpage-v1", "client", (
                    ("reviews-v3", "server", (
                        ("reviews-v3", "client", (
                            ("ratings-v1", "server", ()),
                        )),
                    )),
                )),
            )),
        )),
    )
)  # fmt: skip


@pytest.fixture
def pinned(mesh: RunningMesh) -> Iterator[RunningMesh]:
    """Reviews in the version that asks ratings."""
    with mesh.applied(rules.all_to("reviews", "v3")):
        yield mesh


def _page_load(mesh: RunningMesh) -> str:
    """Load the page as a client that has a trace of its own; returns the trace's id."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    assert mesh.get("/productpage", headers={"traceparent": f"00-{trace_id}-{span_id}-01"}).status_code == 200
    return trace_id


def _shape(spans: list[dict[str, Any]], span: dict[str, Any]) -> Shape:
    children = [each for each in spans if each["parent_id"] == span["span_id"]]
    return span["workload"], span["kind"], tuple(sorted(_shape(spans, child) for child in children))


def _spans(mesh: RunningMesh, trace_id: str, count: int) -> list[dict[str, Any]]:
    def complete() -> list[dict[str, Any]] | None:
        result = mesh.attempt("traces", trace_id, "-o", "json")
        spans: list[dict[str, Any]] = json.loads(result.stdout)["spans"] if result.returncode == 0 else []
        return spans if len(spans) >= count else None

    return until(complete, f"{count} spans of trace {trace_id}", within=20) or []


def test_a_page_load_is_one_trace_of_nine_spans_with_right_parents(pinned: RunningMesh) -> None:
    trace_id = _page_load(pinned)
    spans = _spans(pinned, trace_id, 9)
    assert len(spans) == 9
    known = {span["span_id"] for span in spans}
    roots = [span for span in spans if span["parent_id"] not in known]
    assert [_shape(spans, root) for root in roots] == [PAGE]
    by_id = {span["span_id"]: span for span in spans}
    for span in spans:
        parent = by_id.get(span["parent_id"])
        if parent is not None:  # one clock: all on this machine
            assert span["start"] >= parent["start"] - 0.001
            assert span["duration_ms"] <= parent["duration_ms"] + 1
        assert not span["error"]
        assert span["attributes"]["http.request.method"] == "GET"
        assert int(span["attributes"]["http.response.status_code"]) == 200


def test_a_trace_without_a_clients_context_begins_at_the_gateway(pinned: RunningMesh) -> None:
    user_agent = f"test/{secrets.token_hex(8)}"
    assert pinned.get("/productpage", headers={"user-agent": user_agent}).status_code == 200

    def found() -> list[dict[str, Any]]:
        listed = json.loads(pinned.remora("traces", "--since", "2m", "--text", user_agent, "-o", "json"))
        return [trace for trace in listed if trace["span_count"] == 9]

    trace = until(found, "the trace of the page", within=20)[0]
    roots = [span for span in trace["spans"] if span["parent_id"] is None]
    assert [(root["workload"], root["kind"]) for root in roots] == [("ingressgateway", "server")]
    assert len(trace["spans"]) == trace["span_count"]


def test_the_waterfall_in_the_terminal(pinned: RunningMesh) -> None:
    trace_id = _page_load(pinned)
    _spans(pinned, trace_id, 9)
    lines = pinned.remora("traces", trace_id).splitlines()
    assert len(lines) == 9
    assert [len(line) - len(line.lstrip()) for line in lines][:3] == [0, 2, 4]
    assert trace_id in pinned.remora("traces", "--since", "5m", "--limit", "50")


def test_the_waterfall_in_a_browser(pinned: RunningMesh) -> None:
    from playwright.sync_api import sync_playwright

    chromium = program("chromium")
    trace_id = _page_load(pinned)
    spans = _spans(pinned, trace_id, 9)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--no-proxy-server"])
        try:
            page = browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            base, _, query = pinned.info["console"].partition("?")
            page.goto(f"{base.rstrip('/')}/?{query}", wait_until="load", timeout=30_000)
            page.goto(f"{base.rstrip('/')}/traces/{trace_id}", wait_until="load", timeout=30_000)
            page.get_by_text("ratings-v1").first.wait_for(timeout=30_000)
            shown = page.inner_text("body")
        finally:
            browser.close()
    for workload in Counter(span["workload"] for span in spans):
        assert workload in shown
    assert re.search(r"\bGET\b", shown)
    assert errors == []
