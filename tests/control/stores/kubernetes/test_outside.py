"""Addresses that a rule of a cluster may not name: those that are another place to every proxy."""

from typing import Any

import pytest

from control.api.world import World
from control.stores.kubernetes.outside import forbidden
from control.stores.kubernetes.rules import RuleDecoder, kinds
from control.stores.kubernetes.services import decode_service
from control.webhooks.validate import judge
from tests.kubernetes.objects import service

HIDDEN = ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0", "127.0.0.1.", "localhost.", "a.LocalHost"]
OURS = ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "localhost", "ip6-localhost", *HIDDEN]
LINK = ["169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1"]
FINE = ["", "192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1", "example.com", "1.example.com", "localhost.example.com"]


def entry(**spec: Any) -> dict[str, Any]:
    whole = {"hosts": ["db.test"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]} | spec
    metadata = {"name": "db", "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": whole}


@pytest.mark.parametrize("place", [*OURS, *LINK])
def test_what_every_proxy_takes_for_another_place_is_forbidden(place: str) -> None:
    assert forbidden(place)


@pytest.mark.parametrize("place", FINE)
def test_everything_else_may_be_named(place: str) -> None:
    assert not forbidden(place)


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (entry(resolution="STATIC", endpoints=[{"address": "127.0.0.1"}]), "spec.endpoints[0].address"),
        (entry(resolution="DNS", endpoints=[{"address": "a.test"}, {"address": "127.1"}]), "spec.endpoints[1].address"),
        (entry(resolution="DNS", hosts=["localhost"]), "spec.hosts[0]"),
        (entry(hosts=["a.test", "169.254.169.254"]), "spec.hosts[1]"),
    ],
    ids=["an address", "a name", "the host itself", "without a resolution"],
)
def test_a_service_entry_that_names_one_is_refused_by_the_webhook_and_has_no_effect(
    found: dict[str, Any], where: str
) -> None:
    errors, _ = judge(World(), found, "default")
    assert [each.path for each in errors] == [where]
    (kind,) = (kind for kind, _ in kinds() if kind.name == "ServiceEntry")
    rule = RuleDecoder(kind).decode(found)
    assert rule is not None
    assert rule.resource is None
    assert [each.path for each in rule.violations] == [where]


def test_an_external_name_that_is_one_leads_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    facts = decode_service(service("db", {"port": 80}, addresses=(), type="ExternalName", externalName="localhost"))
    assert facts is not None
    assert facts.external_name == ""
    assert "Service default/db has no endpoints: externalName is every proxy itself" in caplog.messages
