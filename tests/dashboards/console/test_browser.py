"""The console's pages in a real browser, beside a store and a control plane with a busy Bookinfo."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.async_api import Page, WebSocketRoute, expect

GRAPH_ITEMS = """() => {
    const element = [...document.querySelectorAll('.nicegui-echart')].pop();
    const chart = element && getElement(Number(element.id.replace('c', '')))?.chart;
    if (!chart) return [];
    return chart.getOption().series.flatMap((series) => series.data.map((item) => ({
        id: item.id, node: item.node, source: item.source, target: item.target, value: item.value,
        label: item.label?.formatter, series: series.id,
    })));
}"""
"""What the chart was told to draw."""


async def graph_items(page: Page) -> list[dict[str, Any]]:
    await page.wait_for_selector(".nicegui-echart canvas")
    await page.wait_for_function(f"() => ({GRAPH_ITEMS})().length > 0")
    found: list[dict[str, Any]] = await page.evaluate(GRAPH_ITEMS)
    return found


async def click_item(page: Page, item_id: str) -> None:
    """Click an item of the chart, where it was told to draw it."""
    (item,) = [item for item in await graph_items(page) if item["id"] == item_id]
    box = await page.locator(".nicegui-echart").bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + item["value"][0], box["y"] + item["value"][1])


async def test_the_graph_shows_who_talks_to_whom_how_much_how_well_and_how_safely(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/?window=5m"))
    items = {item["id"]: item for item in await graph_items(page) if item["id"]}
    workloads = {item["node"] for item in items.values() if item["node"]}
    assert workloads == {
        "unknown", "default/ingress", "default/productpage-v1", "default/details-v1", "default/reviews-v1",
        "default/reviews-v2", "default/reviews-v3", "default/ratings-v1",
    }  # fmt: skip
    failing = items["label default/reviews-v3 default/ratings-v1"]["label"]
    assert "req/s" in failing
    assert re.search(r"1[0-9] % err", failing), failing
    assert "lock default/reviews-v3 default/ratings-v1" in items
    assert [item["label"] for item in items.values() if item["series"] == "boxes"] == ["reviews"]
    assert page.url == f"{bookinfo.base}/?window=5m"


async def test_a_click_on_a_workload_tells_more_and_leads_on(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/?window=5m"))
    await click_item(page, "node default/reviews-v3")
    panel = page.locator("aside.panel")
    await expect(panel.get_by_role("heading", name="reviews-v3")).to_be_visible()
    await expect(panel).to_contain_text("productpage-v1")
    await expect(panel).to_contain_text("ratings-v1")
    await panel.get_by_role("link", name="Traces").click()
    await expect(page).to_have_url(re.compile(r"/traces\?service=reviews"))


async def test_the_graph_refreshes_without_being_drawn_anew(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/?window=15m"))
    await graph_items(page)
    await page.evaluate("() => { document.querySelector('.nicegui-echart').mark = 1; }")
    before = (await graph_items(page))[-1]
    # Two refreshes, which run every two seconds: a time that passes is the condition here.
    await page.wait_for_timeout(4_500)
    assert await page.evaluate("() => document.querySelector('.nicegui-echart').mark") == 1
    assert (await graph_items(page))[-1]["id"] == before["id"]


async def test_services_can_be_seen_as_one_node_each(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/?window=5m"))
    await graph_items(page)
    await page.get_by_role("button", name="Services").click()
    await page.wait_for_function(f"() => ({GRAPH_ITEMS})().some(item => item.node === 'default/reviews')")
    assert "default/reviews-v1" not in {item["node"] for item in await graph_items(page)}


async def test_the_services_table_has_figures_and_a_click_shows_the_workloads(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/services?window=5m"))
    row = page.locator(".ag-row", has_text="reviews")
    await expect(row).to_contain_text("v1, v2, v3")
    await expect(row).to_contain_text("req/s")
    await expect(row).to_contain_text("mutual TLS")
    await expect(row).to_contain_text("ms")
    await row.locator("[col-id=name]").click()
    panel = page.locator("aside.panel")
    for workload in ("reviews-v1", "reviews-v2", "reviews-v3"):
        await expect(panel).to_contain_text(workload)
    await expect(panel).to_contain_text("productpage-v1 → v1")


async def test_a_trace_is_searched_opened_and_leads_to_its_logs(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/traces?window=1h"))
    await expect(page.locator(".toolbar")).to_contain_text("30 traces")
    await page.get_by_text("Errors only").click()
    await expect(page.locator(".toolbar")).not_to_contain_text("30 traces")
    await expect(page.locator(".ag-center-cols-container .tag.ok")).to_have_count(0)
    await page.locator(".ag-row [col-id=name]").first.click()
    await expect(page).to_have_url(re.compile(r"/traces/[0-9a-f]{32}$"))
    trace_id = page.url.rpartition("/")[2]
    rows = page.locator(".wf-row")
    await expect(rows).to_have_count(9)
    names = [await rows.nth(index).locator(".wf-names").inner_text() for index in range(9)]
    told = [re.sub(r"\s+", " ", name) for name in names]
    assert [text.split(" ")[0] for text in told] == [
        "ingress", "ingress", "productpage", "productpage", "details", "productpage", "reviews", "reviews", "ratings",
    ]  # fmt: skip
    assert "error" in told[-1]
    depth = [int(await rows.nth(index).get_attribute("aria-level") or 0) for index in range(9)]
    assert depth == [1, 2, 3, 4, 5, 4, 5, 6, 7]
    root, leaf = await rows.first.locator(".wf-bar").bounding_box(), await rows.last.locator(".wf-bar").bounding_box()
    assert root is not None
    assert leaf is not None
    assert root["x"] < leaf["x"]
    assert root["width"] > 3 * leaf["width"]
    await rows.last.click()
    panel = page.locator("aside.panel")
    await expect(panel).to_contain_text("url.path")
    await expect(panel).to_contain_text("/ratings/0")
    await expect(page.locator(".ag-row")).to_have_count(5)
    await page.get_by_role("link", name="Open in logs").click()
    await expect(page).to_have_url(re.compile(rf"/logs\?trace_id={trace_id}"))
    await expect(page.locator(".toolbar")).to_contain_text("5 records")


async def test_traces_are_filtered_by_service_duration_and_text(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/traces?window=1h&min_ms=100000"))
    await expect(page.locator(".toolbar")).to_contain_text("0 traces")
    await expect(page.locator("body")).to_contain_text("No trace matches")
    await page.goto(f"{bookinfo.base}/traces?window=1h&text=nowheretobefound")
    await expect(page.locator(".toolbar")).to_contain_text("0 traces")
    await page.goto(f"{bookinfo.base}/traces?window=1h&service=productpage")
    await expect(page.locator(".toolbar")).to_contain_text("30 traces")


async def test_logs_are_searched_filtered_and_lead_to_their_trace(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/logs?window=1h"))
    await expect(page.locator(".ag-row").first).to_be_visible()
    await page.get_by_label("Full-text search").fill("ratings")
    await expect(page.locator(".ag-row").first.locator("[col-id=message]")).to_contain_text("/ratings/0")
    await page.goto(f"{bookinfo.base}/logs?window=1h&severity=error")
    first = page.locator(".ag-row").first
    await expect(first).to_contain_text("ratings-v1")
    await expect(first).to_contain_text("503")
    await first.locator("[col-id=workload]").click()
    await expect(page.locator("aside.panel")).to_contain_text('"response_code": 503')
    await first.locator("[col-id=trace] a").click()
    await expect(page).to_have_url(re.compile(r"/traces/[0-9a-f]{32}$"))
    await expect(page.locator(".wf-row").first).to_be_visible()


TRACEBACK = """Traceback (most recent call last):
  File "/app/shop/orders.py", line 10, in place
    raise OutOfStock(x)
OutOfStock: order 17 <b>now</b>
"""


async def test_errors_are_grouped_told_and_lead_to_trace_and_logs(
    page: Page, console: Callable[..., Any], control: Any, state: Path, mesh: Any
) -> None:
    now = time.time()
    loads = mesh.busy_minute(now)
    trace = loads.spans[0].trace_id
    fields = {"message": TRACEBACK, "service": "shop", "version": "2.1"}
    for number in range(7):
        loads.logs.append(
            mesh.LogRecord(f"boom/{number}", now - 60 * number, "app.log", "shop-v2", "error", trace, fields)
        )
    mesh.fill(state, loads)
    running = console()
    await page.goto(running.at("/errors?window=1h"))
    row = page.locator(".ag-row", has_text="OutOfStock: order <n>")
    await expect(row).to_contain_text("shop/orders.py:place")
    await expect(row.locator("[col-id=recent]")).to_have_text("7")
    await expect(row.locator("[col-id=release]")).to_have_text("2.1")
    await expect(page.locator(".ag-row", has_text="503 UF answering")).to_contain_text("ratings")
    await row.locator("[col-id=title]").click()
    panel = page.locator("aside.panel")
    await expect(panel).to_contain_text('File "/app/shop/orders.py", line 10, in place')
    await expect(panel).to_contain_text("<b>now</b>")
    await expect(panel.locator(".bars span").first).to_be_attached()
    assert "7 errors in the window" in (await panel.locator(".bars").get_attribute("aria-label") or "")
    await page.get_by_label("Words in error, place or service").fill("stock")
    await expect(page.locator(".toolbar")).to_contain_text("1 error")
    await panel.get_by_role("link", name="Open its trace").click()
    await expect(page).to_have_url(re.compile(rf"/traces/{trace}$"))
    await page.go_back()
    await page.goto(f"{running.base}/errors?window=1h&service=shop")
    await page.locator(".ag-row [col-id=title]").first.click()
    await page.locator("aside.panel").get_by_role("link", name="Logs of that trace").click()
    await expect(page).to_have_url(re.compile(rf"/logs\?trace_id={trace}"))
    await expect(page.locator(".ag-row", has_text="OutOfStock").first).to_be_visible()


async def test_what_has_no_errors_says_so(
    page: Page, console: Callable[..., Any], control: Any, state: Path, mesh: Any
) -> None:
    mesh.fill(state, mesh.Batch(logs=[mesh.record("x", "a-v1", time.time(), "/", None, 200, 1.0)]))
    await page.goto(console().at("/errors"))
    await expect(page.locator("body")).to_contain_text("Nothing failed in this window")
    await expect(page.locator(".toolbar")).to_contain_text("0 errors")


async def test_the_theme_can_be_switched_and_is_remembered(page: Page, bookinfo: Any) -> None:
    await page.goto(bookinfo.at("/services"))
    await expect(page.locator("body")).to_have_class(re.compile("body--light"))
    await page.get_by_label("Switch between dark and light").click()
    await expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    await page.goto(f"{bookinfo.base}/logs")
    await expect(page.locator("body")).to_have_class(re.compile("body--dark"))


@pytest.mark.parametrize(("began", "after"), [("light", "body--dark"), ("dark", "body--light")])
async def test_the_theme_switches_before_the_server_hears_of_it_whatever_the_browser_began_with(
    page: Page, bookinfo: Any, began: Literal["light", "dark"], after: str
) -> None:
    connect = asyncio.Event()

    async def hold(socket: WebSocketRoute) -> None:
        await connect.wait()
        socket.connect_to_server()

    await page.emulate_media(color_scheme=began)
    await page.route_web_socket(re.compile("_nicegui_ws"), hold)
    await page.goto(bookinfo.at("/rules"))
    await page.get_by_label("Switch between dark and light").click()
    await expect(page.locator("body")).to_have_class(re.compile(after))
    connect.set()
    # The editor's theme is the server's to set: it has heard of the click once that is the same.
    text = "rgb(156, 220, 254)" if after == "body--dark" else "rgb(56, 58, 66)"
    await expect(page.locator(".cm-editor")).to_have_css("color", text)
    await expect(page.locator("body")).to_have_class(re.compile(after))


async def test_without_a_mesh_every_page_says_so_and_goes_on_when_it_comes(
    page: Page, console: Callable[..., Any], state: Path, make_control: Callable[[], Any], mesh: Any
) -> None:
    running = console()
    await page.goto(running.at("/?window=5m"))
    await expect(page.locator(".banner")).to_contain_text("No telemetry yet")
    await expect(page.locator(".mesh-state")).to_have_text("control plane unreachable")
    await page.goto(f"{running.base}/rules")
    await expect(page.locator(".banner")).to_contain_text("The control plane has not started yet")
    control = make_control()
    control.start()
    await expect(page.locator(".banner")).to_be_hidden()
    await expect(page.locator(".mesh-state")).to_have_text("all 7 proxies synced")
    control.stop()
    await expect(page.locator(".banner")).to_contain_text("not reachable")
    await page.goto(f"{running.base}/?window=5m")
    await expect(page.locator(".banner")).to_contain_text("No telemetry yet")
    mesh.fill(state, mesh.busy_minute(time.time()))
    await expect(page.locator(".banner")).to_be_hidden()
    assert len(await graph_items(page)) > 8


async def test_the_live_tail_shows_records_as_they_arrive_and_stops_when_told(
    page: Page, console: Callable[..., Any], state: Path, mesh: Any, eventually: Callable[..., Awaitable[None]]
) -> None:
    now = time.time()
    mesh.fill(state, mesh.Batch(logs=[mesh.record("a/1", "reviews-v1", now, "/first", None, 200, 1.0)]))
    await page.goto(console().at("/logs"))
    await expect(page.locator(".ag-row")).to_have_count(1)
    mesh.fill(state, mesh.Batch(logs=[mesh.record("a/2", "reviews-v1", now + 1, "/second", None, 200, 1.0)]))
    await expect(page.locator(".ag-row")).to_have_count(2)
    await expect(page.locator('.ag-row[row-index="0"]')).to_contain_text("/second")
    await page.get_by_text("Live").click()
    await expect(page.locator(".live-dot")).to_be_hidden()
    mesh.fill(state, mesh.Batch(logs=[mesh.record("a/3", "reviews-v1", now + 2, "/third", None, 200, 1.0)]))
    await page.wait_for_timeout(2_500)
    await expect(page.locator(".ag-row")).to_have_count(2)
    await page.get_by_text("Live").click()
    await expect(page.locator(".ag-row")).to_have_count(3)


HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}</script><script>alert(2)</script>`${alert(3)}`"


async def test_markup_in_any_name_span_or_log_is_shown_as_text(
    page: Page, console: Callable[..., Any], control: Any, state: Path, mesh: Any
) -> None:
    now = time.time()
    rng = mesh.random.Random(1)
    edges = [("unknown", HOSTILE, 5.0, 0.1, True, 3), (HOSTILE, ":formatter", 5.0, 0.0, False, 3)]
    batch = mesh.Batch(samples=[*mesh.samples(edges, now - 50, 0, rng), *mesh.samples(edges, now - 1, 49, rng)])
    trace = "ab" * 16
    attributes = {HOSTILE: HOSTILE, ":onclick": "alert(4)", "__proto__": "x"}
    batch.spans.append(
        mesh.SpanRecord(trace, "1" * 16, None, HOSTILE, HOSTILE, HOSTILE, "server", now, 5.0, True, attributes)
    )
    body = {"message": HOSTILE, ":x": "alert(5)", "path": "\r\n\x1b[31mred"}
    batch.logs.append(mesh.LogRecord("x", now, "app", HOSTILE, "error", trace, body))
    mesh.fill(state, batch)
    running = console()
    await page.goto(running.at("/?window=5m"))
    assert HOSTILE in {str(item["node"]).removeprefix("default/") for item in await graph_items(page)}
    await click_item(page, f"node default/{HOSTILE}")
    await expect(page.locator("aside.panel")).to_contain_text(HOSTILE)
    (item,) = [one for one in await graph_items(page) if one["id"] == f"node default/{HOSTILE}"]
    box = await page.locator(".nicegui-echart").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + item["value"][0] + 8, box["y"] + item["value"][1])
    await expect(page.locator(".chart-tip")).to_contain_text(HOSTILE)
    await page.goto(f"{running.base}/services?window=5m")
    await expect(page.locator(".ag-center-cols-container")).to_contain_text(HOSTILE)
    await page.locator(".ag-row [col-id=name]", has_text="onerror").click()
    await expect(page.locator("aside.panel")).to_contain_text(HOSTILE)
    await page.goto(f"{running.base}/traces")
    await expect(page.locator(".ag-center-cols-container")).to_contain_text(HOSTILE)
    await page.locator(".ag-row [col-id=name]").hover()
    await expect(page.locator(".ag-tooltip")).to_contain_text(HOSTILE)
    await page.goto(f"{running.base}/traces/{trace}")
    await page.locator(".wf-row").click()
    await expect(page.locator("aside.panel")).to_contain_text("alert(4)")
    await page.goto(f"{running.base}/logs")
    await page.locator(".ag-row [col-id=message]").click()
    await expect(page.locator("aside.panel")).to_contain_text("alert(5)")
    await expect(page.locator("aside.panel")).to_contain_text("\\r\\n\\u001b[31mred")
    await page.goto(f"{running.base}/rules")
    await page.locator(".cm-content").click()
    await page.keyboard.insert_text(
        f"kind: VirtualService\nmetadata: {{name: reviews}}\nspec:\n  hosts: [reviews]\n  {HOSTILE!r}: 1\n"
    )
    await page.get_by_role("button", name="Validate").click()
    await expect(page.locator(".violations")).to_contain_text("onerror")
    assert await page.locator("img[src=x]").count() == 0


async def test_a_thousand_logs_two_hundred_spans_and_fifty_workloads_hold_up(
    page: Page, console: Callable[..., Any], control: Any, state: Path, mesh: Any
) -> None:
    now = time.time()
    rng = mesh.random.Random(1)
    trace = "cd" * 16
    edges = [
        (f"s{i:02}-v1", f"s{j:02}-v1", 5.0, 0.0, True, 3) for i in range(50) for j in (2 * i + 1, 2 * i + 2) if j < 50
    ]
    batch = mesh.Batch(samples=[*mesh.samples(edges, now - 50, 0, rng), *mesh.samples(edges, now - 1, 49, rng)])
    for i in range(200):
        parent = f"{max(1, i // 2):016x}" if i else None
        attributes = {f"key.{k}": f"value {k}" for k in range(20)}
        span = (
            trace,
            f"{i + 1:016x}",
            parent,
            f"s{i % 9}",
            f"s{i % 9}-v1",
            f"GET /{i}",
            "server",
            now - 1 + i / 500,
            400 - i,
            False,
            attributes,
        )
        batch.spans.append(mesh.SpanRecord(*span))
    batch.logs += [mesh.record(f"x/{i}", "s01-v1", now - 30 + i / 100, f"/{i}", trace, 200, 1.0) for i in range(1500)]
    mesh.fill(state, batch)
    running = console()
    took = {}

    async def timed(name: str, path: str, ready: str, count: int) -> None:
        before = time.monotonic()
        await page.goto(running.at(path) if not took else running.base + path)
        await page.wait_for_function(f"() => document.querySelectorAll({ready!r}).length >= {count}")
        took[name] = time.monotonic() - before

    await timed("logs", "/logs", ".ag-row", 15)
    await expect(page.locator(".toolbar")).to_contain_text("newest 1,000 of 1,500 records")
    await timed("trace", f"/traces/{trace}", ".wf-row", 200)
    await page.locator(".wf-row").nth(150).click()
    await expect(page.locator("aside.panel")).to_contain_text("key.19")
    await timed("graph", "/?window=5m", ".nicegui-echart canvas", 1)
    assert sum(bool(item["node"]) for item in await graph_items(page)) == 50
    assert max(took.values()) < 20, took


async def test_the_admin_token_never_reaches_the_browser(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    received: list[bytes | str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(frame)))
    running = console()
    await page.goto(running.at("/rules"))
    await expect(page.locator(".mesh-state")).to_have_text("all 7 proxies synced")
    received.append(await page.content())
    token = (state / "admin.token").read_text()
    assert len(received) > 2
    assert not any(token in (part if isinstance(part, str) else part.decode("latin-1")) for part in received)
    assert httpx.get(f"{running.base}/admin.token", trust_env=False).status_code == 401
