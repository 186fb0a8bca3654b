"""Rules in a real browser: read, written, validated, applied, deleted; and others who do so at the same time."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from dashboards.console.control import ControlPlane
from dashboards.console.doors import StateDoor

RULE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
  - reviews
"""


async def put(page: Page, text: str) -> None:
    """Replace the editor's text."""
    await page.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Delete")
    await page.keyboard.insert_text(text)


async def test_a_rule_is_written_corrected_applied_changed_and_deleted(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    await page.goto(console().at("/rules"))
    await page.get_by_role("button", name="New").click()
    await page.get_by_text("Split traffic by weight").click()
    await expect(page.locator(".cm-content")).to_contain_text("weight: 80")

    await put(page, RULE + "  htpp: []\n")
    await page.get_by_role("button", name="Validate").click()
    await expect(page.locator(".violations")).to_contain_text("line 9")
    await expect(page.locator(".violations")).to_contain_text("unknown field 'htpp'")
    await expect(page.locator(".cm-line.violation")).to_have_text("  htpp: []")
    await page.get_by_role("button", name="Apply…").click()
    await expect(page.locator(".q-dialog")).to_have_count(0)

    await put(page, RULE)
    await page.get_by_role("button", name="Apply…").click()
    await expect(page.locator(".q-dialog .diff .d.added")).to_have_count(8)
    await page.get_by_role("button", name="Apply", exact=True).click()
    await expect(page.locator(".rules-list .rule.chosen")).to_contain_text("reviews")
    await expect(page.get_by_text("not applied")).to_be_hidden()

    await put(page, RULE + "  - reviews.local\n")
    await expect(page.get_by_text("not applied")).to_be_visible()
    await page.get_by_role("button", name="Apply…").click()
    await expect(page.locator(".q-dialog .diff .d.added")).to_have_text(re.compile("reviews.local"))
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("not applied")).to_be_visible()

    await page.get_by_role("button", name="Delete").click()
    await page.locator(".q-dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".rules-list")).to_contain_text("No rules yet")


async def store(state: Path, text: str) -> None:
    """Somebody else's apply."""
    plane = ControlPlane(StateDoor(state))
    try:
        await plane.apply("theirs.yaml", text, {}, dry_run=False)
    finally:
        await plane.close()


async def test_a_rule_that_nobody_edits_here_follows_what_is_stored(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    await store(state, RULE)
    await page.goto(console().at("/rules?kind=VirtualService&namespace=default&name=reviews"))
    await expect(page.locator(".cm-content")).to_contain_text("- reviews")
    await store(state, RULE + "  - reviews.theirs\n")
    await expect(page.locator(".cm-content")).to_contain_text("reviews.theirs")
    await expect(page.get_by_text("not applied")).to_be_hidden()


async def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    await store(state, RULE)
    await page.goto(console().at("/rules?kind=VirtualService&namespace=default&name=reviews"))
    await expect(page.locator(".cm-content")).to_contain_text("- reviews")
    await put(page, RULE + "  - reviews.ours\n")
    await store(state, RULE + "  - reviews.theirs\n")
    await expect(page.get_by_text("changed meanwhile")).to_be_visible()

    # Kept: what is applied is shown as a change of theirs.
    await page.get_by_role("button", name="Apply…").click()
    dialog = page.locator(".q-dialog")
    await expect(dialog).to_contain_text("Somebody has changed it meanwhile")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".cm-content")).to_contain_text("reviews.ours")
    await page.get_by_role("button", name="Apply…").click()
    await expect(dialog.locator(".diff .d.removed")).to_contain_text("reviews.theirs")
    await dialog.get_by_role("button", name="Cancel").click()

    # Theirs again while ours is unsaved, and taken this time.
    await store(state, RULE + "  - reviews.again\n")
    await page.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Load it").click()
    await expect(page.locator(".cm-content")).to_contain_text("reviews.again")


async def test_where_the_console_only_reads_rules_are_seen_and_validated_and_the_way_to_more_is_said(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    await store(state, RULE)
    (state / "read-only").touch()
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    analyzed = {"type": "Analyzed", "status": "False", "reason": "Warnings", "message": "spec.hosts[0]: <i>nobody</i>"}
    (state / "conditions.json").write_text(json.dumps({"reviews": [accepted, analyzed]}))
    await page.goto(console().at("/rules"))
    await expect(page.get_by_text("console.editRules=true")).to_be_visible()
    entry = page.locator(".rules-list .rule")
    await expect(entry).to_contain_text("warnings")
    await page.get_by_label("Filter rules").fill("ratings")
    await expect(page.locator(".rules-list")).to_contain_text("No rule matches")
    await page.get_by_label("Filter rules").fill("default/rev warn")
    await entry.click()
    await expect(page.locator(".conditions")).to_contain_text("spec.hosts[0]: <i>nobody</i>")
    await put(page, RULE + "  htpp: []\n")
    await page.get_by_role("button", name="Validate").click()
    await expect(page.locator(".violations")).to_contain_text("unknown field 'htpp'")
    await put(page, RULE)
    await page.get_by_role("button", name="Validate").click()
    await expect(page.locator(".violations")).to_contain_text("Valid")
    await expect(page.get_by_role("button", name="Apply…")).to_be_hidden()
    await expect(page.get_by_role("button", name="Delete")).to_be_hidden()


async def test_leaving_an_unapplied_change_is_asked_about(
    page: Page, console: Callable[..., Any], control: Any
) -> None:
    await page.goto(console().at("/rules"))
    await put(page, RULE)
    await page.get_by_role("button", name="New").click()
    await page.get_by_text("Require mutual TLS").click()
    await page.locator(".q-dialog").get_by_role("button", name="Cancel").click()
    await expect(page.locator(".cm-content")).to_contain_text("reviews")
    await page.get_by_role("button", name="New").click()
    await page.get_by_text("Require mutual TLS").click()
    await page.locator(".q-dialog").get_by_role("button", name="Leave").click()
    await expect(page.locator(".cm-content")).to_contain_text("STRICT")


async def test_a_proxy_that_refuses_the_rules_is_shown_with_the_reason(
    page: Page, console: Callable[..., Any], control: Any, state: Path
) -> None:
    await page.goto(console().at("/rules"))
    await expect(page.locator(".mesh-state")).to_have_text("all 7 proxies synced")
    (state / "reject").write_text("regex too large <b>x</b>")
    await expect(page.locator(".mesh-state")).to_have_text("1 proxy rejected the rules")
    await expect(page.locator(".rules-side .stat").first).to_contain_text("regex too large <b>x</b>")
    await expect(page.locator(".rules-side .stat").first).to_contain_text("virtual_hosts[0].routes[2].match")
