"""apply, get, delete, diff, analyze against a control plane that answers as the real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.remora.conftest import FakeControl, Remora

DOCUMENT = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews", "namespace": "default"},
    "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]},
}
RESOURCE = {
    "kind": "VirtualService",
    "namespace": "default",
    "name": "reviews",
    "yaml": "kind: VirtualService\n",
    "document": DOCUMENT,
    "created_at": 0,
}
VIOLATION = {
    "file": "r.yaml",
    "line": 7,
    "kind": "VirtualService",
    "namespace": "default",
    "name": "reviews",
    "path": "spec.http[0].route",
    "message": "weights add up to 90; they must add up to 100",
    "severity": "error",
}
VIOLATION_TEXT = "r.yaml:7: VirtualService/reviews: spec.http[0].route: weights add up to 90; they must add up to 100\n"


def change(action: str, name: str = "reviews", **more: Any) -> dict[str, Any]:
    return {"action": action, "kind": "VirtualService", "namespace": "default", "name": name, **more}


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "r.yaml"
    path.write_text("kind: VirtualService\n")
    return str(path)


def test_apply_says_what_became_of_every_rule(remora: Remora, control: FakeControl, rules: str) -> None:
    changes = [change("created"), change("configured", "a"), change("unchanged", "b", namespace="prod")]
    control.answer("POST", "/v1/apply", {"changes": changes, "warnings": [VIOLATION | {"severity": "warning"}]})
    result = remora("apply", "-f", rules)
    assert result.status == 0
    assert result.out == (
        "VirtualService/reviews created\nVirtualService/a configured\nVirtualService/b in namespace prod unchanged\n"
    )
    assert "spec.http[0].route: warning: weights" in result.err
    sent = control.requests[-1][2]
    assert sent == {"files": [{"name": rules, "text": "kind: VirtualService\n"}], "dry_run": False}


@pytest.mark.parametrize("command", ["apply", "diff", "delete"])
def test_violations_go_to_standard_error_with_exit_status_1(
    remora: Remora, control: FakeControl, rules: str, command: str
) -> None:
    path = "/v1/delete" if command == "delete" else "/v1/apply"
    control.answer("POST", path, {"violations": [VIOLATION]}, status=422)
    result = remora(command, "-f", rules)
    assert (result.status, result.out, result.err) == (1, "", VIOLATION_TEXT)


def test_control_characters_from_a_file_are_escaped(remora: Remora, control: FakeControl, rules: str) -> None:
    nasty = VIOLATION | {"name": "a\x1b[31m\r\nb"}
    control.answer("POST", "/v1/apply", {"violations": [nasty]}, status=422)
    result = remora("apply", "-f", rules)
    assert "a\\x1b[31m\\r\\nb" in result.err
    assert result.err.count("\n") == 1


def test_get_lists_for_people_and_for_programs(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/resources/vs", {"resources": [RESOURCE]})
    assert remora("get", "vs").out.splitlines()[0].split() == ["KIND", "NAMESPACE", "NAME", "WHAT", "AGE"]
    assert remora("get", "vs").out.splitlines()[1].split()[:4] == ["VirtualService", "default", "reviews", "reviews"]
    assert remora("get", "vs", "-o", "json").json() == [DOCUMENT]
    assert remora("get", "vs", "-o", "yaml").out.startswith(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    )


def test_get_asks_for_one_namespace(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/resources/vs?namespace=prod", {"resources": []})
    result = remora("get", "vs", "-n", "prod")
    assert (result.status, result.err) == (0, "no vs is stored\n")


def test_get_in_all_namespaces_is_what_it_is_without_one(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/resources/vs", {"resources": [RESOURCE]})
    for flag in ("-A", "--all-namespaces"):
        assert remora("get", "vs", flag).out == remora("get", "vs").out


@pytest.mark.parametrize(
    ("argv", "said"),
    [(("vs", "-A", "-n", "prod"), "excludes --namespace"), (("vs", "reviews", "-A"), "by its name in all namespaces")],
    ids=["and one namespace", "and a name"],
)
def test_all_namespaces_are_for_lists_alone(remora: Remora, argv: tuple[str, ...], said: str) -> None:
    result = remora("get", *argv)
    assert (result.status, result.out) == (2, "")
    assert said in result.err


def test_a_finding_in_a_stored_rule_is_at_the_rule_and_in_no_file(remora: Remora, control: FakeControl) -> None:
    stored = VIOLATION | {"file": "", "line": 0, "severity": "warning"}
    control.answer("POST", "/v1/analyze", {"violations": [stored]})
    assert remora("analyze").err == (
        "VirtualService default/reviews: spec.http[0].route: warning: weights add up to 90; they must add up to 100\n"
    )


def test_get_one_rule(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/resources/vs/default/reviews", RESOURCE)
    assert remora("get", "vs", "reviews", "-o", "json").json() == DOCUMENT
    missing = remora("get", "vs", "nothing")
    assert (missing.status, missing.err) == (1, "no /v1/resources/vs/default/nothing\n")


def test_delete_by_name(remora: Remora, control: FakeControl) -> None:
    control.answer("POST", "/v1/delete", {"changes": [change("deleted")]})
    assert remora("delete", "VirtualService", "reviews").out == "VirtualService/reviews deleted\n"
    assert control.requests[-1][2] == {
        "resources": [{"kind": "VirtualService", "namespace": "default", "name": "reviews"}],
        "dry_run": False,
    }


@pytest.mark.parametrize("argv", [(), ("vs",), ("vs", "a", "-f", "r.yaml")], ids=["nothing", "no name", "both"])
def test_delete_wants_names_or_files(remora: Remora, argv: tuple[str, ...]) -> None:
    result = remora("delete", *argv)
    assert result.status == 2
    assert "KIND NAME... or with -f FILE" in result.err
    assert result.err.count("\n") == 1


def test_diff_shows_what_would_change_and_stores_nothing(remora: Remora, control: FakeControl, rules: str) -> None:
    changes = [
        change("configured", before="weight: 90\nport: 1\n", after="weight: 80\nport: 1\n"),
        change("unchanged", "same", before="a: 1\n", after="a: 1\n"),
        change("created", "new", before=None, after="b: 2\n"),
    ]
    control.answer("POST", "/v1/apply", {"changes": changes, "warnings": []})
    result = remora("diff", "-f", rules)
    assert result.status == 0
    assert result.out.splitlines() == [
        "--- stored/VirtualService/default/reviews",
        "+++ new/VirtualService/default/reviews",
        "@@ -1,2 +1,2 @@",
        "-weight: 90",
        "+weight: 80",
        " port: 1",
        "--- /dev/null",
        "+++ new/VirtualService/default/new",
        "@@ -0,0 +1 @@",
        "+b: 2",
    ]
    assert control.requests[-1][2]["dry_run"] is True


def test_analyze_fails_on_errors_alone(remora: Remora, control: FakeControl, rules: str) -> None:
    control.answer("POST", "/v1/analyze", {"violations": [VIOLATION]})
    result = remora("analyze", "-f", rules)
    assert (result.status, result.err) == (1, VIOLATION_TEXT)
    assert json.loads(remora("analyze", "-f", rules, "-o", "json").out) == [VIOLATION]
    control.answer("POST", "/v1/analyze", {"violations": [VIOLATION | {"severity": "warning"}]})
    assert remora("analyze", "-f", rules).status == 0
    control.answer("POST", "/v1/analyze", {"violations": []})
    assert remora("analyze").out == "no problem found\n"
