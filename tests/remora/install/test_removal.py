"""`remora uninstall`: everything that was installed, in an order in which nothing hangs, and no data unless asked."""

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


def test_webhooks_go_first_and_the_namespace_last() -> None:
    kinds = [each["kind"] for each in removal("", purge=True)]
    assert set(kinds[:2]) == {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
    assert kinds[-1] == "Namespace"
    assert kinds.index("Deployment") < kinds.index("ServiceAccount")


def test_of_a_revision_only_its_own_goes() -> None:
    names = [each["metadata"]["name"] for each in removal("canary", purge=False)]
    assert names != []
    assert all(name.endswith("-canary") for name in names)
