"""`remora uninstall`: everything that was installed, in an order in which nothing hangs, and no data unless asked."""

import pytest

from remora.cli import run
from remora.install.crds.definitions import all_definitions
from remora.install.objects import identity, objects
from remora.install.reading import load
from remora.install.removal import removal


def test_all_that_an_installation_makes_is_named() -> None:
    made = {identity(each) for each in objects(load([], ["customMetrics.enabled=true"]))}
    purged = {identity(each) for each in removal("", purge=True)}
    assert made <= purged
    assert {identity(each) for each in all_definitions()} <= purged


def test_what_holds_data_stays_unless_it_is_purged() -> None:
    kept = {each["kind"] for each in removal("", purge=False)}
    assert not {"Namespace", "CustomResourceDefinition", "Secret", "PersistentVolumeClaim"} & kept


@pytest.mark.parametrize("flags", [(), ("--purge",)], ids=["kept", "purged"])
def test_what_stays_in_every_namespace_is_said_with_how_to_delete_it(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["uninstall", *flags]) == 0
    said = capsys.readouterr().err
    assert "kubectl delete configmap -A --field-selector metadata.name=remora-ca-root-cert" in said


def test_a_revision_leaves_the_mesh_s_root_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["uninstall", "--revision", "canary"]) == 0
    assert "remora-ca-root-cert" not in capsys.readouterr().err


def test_webhooks_go_first_and_the_namespace_last() -> None:
    kinds = [each["kind"] for each in removal("", purge=True)]
    assert set(kinds[:2]) == {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
    assert kinds[-1] == "Namespace"
    assert kinds.index("Deployment") < kinds.index("ServiceAccount")


def test_of_a_revision_only_its_own_goes() -> None:
    names = [each["metadata"]["name"] for each in removal("canary", purge=False)]
    assert names != []
    assert all(name.endswith("-canary") for name in names)
