"""What the console of a cluster sees of its rules, and changes where it may."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from dashboards.console.answers import Key, Rule
from dashboards.console.control import ControlConflict, ControlPlane, ControlRefused, ControlUnavailable
from dashboards.console.doors import ClusterDoor
from remora.install.objects import objects
from remora.install.reading import load
from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.control import SHORT_TERM, Control, LeastPrivileged

T = TypeVar("T")

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec:
  hosts: [outside.example]
  http: [{redirect: {uri: /%s}}]
"""


class Asking:
    """A console, each of whose calls is one of a loop of its own."""

    def __init__(self, cluster: Cluster, control: Control, token: str, directory: Path) -> None:
        self._cluster = cluster
        directory.mkdir()
        root, file = directory / "root.pem", directory / "token"
        root.write_bytes(control.root_pem())
        file.touch(mode=0o600)
        file.write_text(token)
        self._door = ClusterDoor(f"https://127.0.0.1:{control.ports['rest']}", root, file)

    def __call__(self, what: Callable[[ControlPlane], Awaitable[T]]) -> T:
        async def run() -> T:
            plane = ControlPlane(self._door)
            try:
                return await what(plane)
            finally:
                await plane.close()

        with self._cluster.place.entered():
            return asyncio.run(run())

    def rule(self, key: Key) -> Rule | None:
        return next((each for each in self(lambda plane: plane.rules()).rules if each.key == key), None)

    def apply(self, text: str, expected: dict[Key, str], *, dry_run: bool = False) -> list[tuple[str, str]]:
        """Action and etag of every change."""
        done = self(lambda plane: plane.apply("editor.yaml", text, expected, dry_run=dry_run))
        return [(change.action, change.etag) for change in done.changes]


@pytest.fixture
def reading(cluster: Cluster, control: LeastPrivileged, tmp_path: Path) -> Asking:
    return Asking(cluster, control, cluster.token(SYSTEM, "remora-collector", "remora-console"), tmp_path / "console")


@pytest.fixture
def editing(cluster: Cluster, control: LeastPrivileged, tmp_path: Path) -> Iterator[Asking]:
    """By another replica, of an installation with console.editRules."""
    kubeconfig = cluster.kubeconfig_of(cluster.token(SYSTEM, "remora-control"), tmp_path / "kubeconfig")
    made = Control(cluster, tmp_path / "control", kubeconfig, "--console-edits-rules", *SHORT_TERM)
    _install_roles(cluster, "console.editRules=true")
    try:
        made.start()
        token = cluster.token(SYSTEM, "remora-collector", "remora-console")
        yield Asking(cluster, made, token, tmp_path / "console")
        assert made.end() == 0
    finally:
        if made.process is not None and made.process.poll() is None:
            made.end()
        _install_roles(cluster)


def _install_roles(cluster: Cluster, *sets: str) -> None:
    for document in objects(load([], sets)):
        if document["kind"] == "ClusterRole":
            cluster.apply(document)


def test_it_sees_every_rule_with_what_is_said_of_it_and_validates_and_changes_none(
    cluster: Cluster, reading: Asking
) -> None:
    namespace = cluster.namespace("e2e-console-reads")
    key = ("VirtualService", namespace, "lost")
    lost = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "lost", "namespace": namespace},
        "spec": {"hosts": ["nobody"], "http": [{"route": [{"destination": {"host": "nobody"}}]}]},
    }  # fmt: skip
    cluster.apply(lost)

    def told() -> dict[str, tuple[str, str]]:
        rule = reading.rule(key)
        return {each.type: (each.status, each.message) for each in rule.conditions} if rule is not None else {}

    until(lambda: told().get("Analyzed", ("",))[0] == "False", "what analysis says is seen", within=20)
    assert told()["Accepted"][0] == "True"
    assert "spec.http[0].route[0].destination.host" in told()["Analyzed"][1]
    stored = reading(lambda plane: plane.rule(key))
    assert stored.yaml.startswith("apiVersion: networking.istio.io/v1\nkind: VirtualService\n")
    assert "managedFields" not in stored.yaml

    wrong = RULE.replace("redirect", "rediret") % ("new", namespace, "a")
    (found,) = reading(lambda plane: plane.analyze("editor.yaml", wrong))
    assert (found.line, found.path) == (6, "spec.http[0].rediret")
    assert not reading(lambda plane: plane.rules()).editable
    with pytest.raises(ControlUnavailable, match=r"console\.editRules"):
        reading.apply(RULE % ("new", namespace, "a"), {})
    with pytest.raises(ControlUnavailable, match=r"console\.editRules"):
        reading(lambda plane: plane.delete(key, stored.etag))
    assert cluster.find("VirtualService", "new", namespace) is None


@pytest.mark.parametrize(
    ("account", "audience"),
    [("remora-collector", "remora-ca"), ("remora-collector", ""), ("remora-control", "remora-console")],
    ids=["for certificates", "for the API server", "of another account"],
)
def test_other_tokens_are_not_the_console_s(
    cluster: Cluster, control: LeastPrivileged, tmp_path: Path, account: str, audience: str
) -> None:
    asking = Asking(cluster, control, cluster.token(SYSTEM, account, audience), tmp_path / "console")
    with pytest.raises(ControlUnavailable, match="does not accept our token"):
        asking(lambda plane: plane.rules())


def test_an_edit_is_what_kubectl_shows(cluster: Cluster, editing: Asking) -> None:
    namespace = cluster.namespace("e2e-console-shown")
    key = ("VirtualService", namespace, "shop")
    assert editing.apply(RULE % ("shop", namespace, "ours"), {key: ""}) == [("created", "")]
    shown = cluster.kubectl("get", "vs", "shop", "-n", namespace, "-o", "jsonpath={.spec.http[0].redirect.uri}")
    assert shown.stdout == "/ours"
    assert cluster.kubectl("delete", "vs", "shop", "-n", namespace).returncode == 0
    until(lambda: editing.rule(key) is None, "it is gone: a host has one rule")


def test_an_edit_is_in_the_api_server_by_server_side_apply_unless_somebody_else_was_faster(
    cluster: Cluster, editing: Asking
) -> None:
    namespace = cluster.namespace("e2e-console-edits")
    key = ("VirtualService", namespace, "shop")
    assert editing.apply(RULE % ("shop", namespace, "ours"), {key: ""}, dry_run=True) == [("created", "")]
    assert cluster.find("VirtualService", "shop", namespace) is None
    assert editing.apply(RULE % ("shop", namespace, "ours"), {key: ""}) == [("created", "")]
    found = cluster.get("VirtualService", "shop", namespace)
    assert found["spec"]["http"] == [{"redirect": {"uri": "/ours"}}]
    assert ("remora-cli", "Apply") in [(m["manager"], m["operation"]) for m in found["metadata"]["managedFields"]]
    with pytest.raises(ControlConflict):
        editing.apply(RULE % ("shop", namespace, "again"), {key: ""})

    # The leader writes conditions to it meanwhile, which is nobody's edit.
    for number in range(5):
        read = editing(lambda plane: plane.rule(key)).etag
        assert editing.apply(RULE % ("shop", namespace, f"ours-{number}"), {key: read}) == [("configured", read)]

    read = editing(lambda plane: plane.rule(key)).etag
    theirs = {**found, "spec": {**found["spec"], "http": [{"redirect": {"uri": "/theirs"}}]}}
    theirs["metadata"] = {"name": "shop", "namespace": namespace}
    theirs.pop("status", None)
    cluster.apply(theirs)
    with pytest.raises(ControlConflict) as conflict:
        editing.apply(RULE % ("shop", namespace, "late"), {key: read})
    assert "somebody has changed it meanwhile" in conflict.value.violations[0].message
    with pytest.raises(ControlConflict):
        editing(lambda plane: plane.delete(key, read))
    assert cluster.get("VirtualService", "shop", namespace)["spec"]["http"] == [{"redirect": {"uri": "/theirs"}}]

    with pytest.raises(ControlRefused) as refused:
        editing.apply((RULE % ("shop", namespace, "bad")).replace("redirect", "rediret"), {})
    assert refused.value.violations[0].path == "spec.http[0].rediret"
    until(lambda: (rule := editing.rule(key)) is not None and rule.etag != read, "their edit is listed")
    now = editing(lambda plane: plane.rule(key)).etag
    editing(lambda plane: plane.delete(key, now))
    assert cluster.find("VirtualService", "shop", namespace) is None
    assert editing.rule(key) is None
