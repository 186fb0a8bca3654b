"""Problems between rules: found, explained on every rule concerned, and only where a change brings them."""

import pytest

from control.analyze import analyze, analyze_stored
from control.api import Key, Parsed, World
from tests.control.translate.bookinfo import parsed, rule, workload, world

SUBSETS = rule(
    "DestinationRule",
    "reviews",
    "host: reviews\nsubsets: [{name: v1, labels: {version: v1}}, {name: v3, labels: {version: v3}}]",
)
GATEWAY = rule(
    "Gateway",
    "edge",
    "selector: {istio: ingressgateway}\nservers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]",
)


def to(subset: str = "v1", *, name: str = "reviews", host: str = "reviews", more: str = "") -> str:
    subset = f", subset: {subset}" if subset else ""
    return rule(
        "VirtualService", name, f"hosts: [{host}]\nhttp:\n- route: [{{destination: {{host: {host}{subset}}}}}]\n{more}"
    )


def findings(world: World, *texts: str) -> list[str]:
    rules = parsed(*texts)
    assert rules.ok, [str(v) for v in rules.violations]
    return [str(v) for v in analyze(world, rules)]


def test_rules_that_fit_together_have_no_findings() -> None:
    assert findings(world(), SUBSETS, to("v1")) == []
    assert findings(world(SUBSETS), to("v3")) == []


def test_a_missing_subset_is_named_with_those_that_exist() -> None:
    assert findings(world(SUBSETS), to("v2")) == [
        "rules0.yaml:8: VirtualService/reviews: spec.http[0].route[0].destination.subset: is 'v2', a subset that"
        " reviews does not have; its DestinationRule defines v1, v3"
    ]
    (finding,) = findings(world(), to("v2"))
    assert "no DestinationRule for reviews defines subsets; apply one first, or in the same call" in finding


def test_a_missing_host_is_named_with_one_that_is_close() -> None:
    found = findings(world(), to("", host="reviewz"))
    assert found[1] == (
        "rules0.yaml:8: VirtualService/reviews: spec.http[0].route[0].destination.host: is 'reviewz'"
        " (reviewz.default.svc.cluster.local), but there is no such service; did you mean reviews?"
    )
    assert "spec.hosts[0]: warning: " in found[0]
    (finding,) = findings(world(), SUBSETS.replace("host: reviews", "host: review"))
    assert "spec.host: is 'review'" in finding
    assert "did you mean reviews?" in finding


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ("- route: [{destination: {host: reviews}}]\n  mirror: {host: gone}", "spec.http[0].mirror.host"),
        ("- route: [{destination: {host: reviews}}]\n  mirrors: [{destination: {host: gone}}]",
         "spec.http[0].mirrors[0].destination.host"),
        ("- route: [{destination: {host: reviews, port: {number: 80}}}]",
         "spec.http[0].route[0].destination.port.number"),
        ("- match: [{gateways: [edge]}]\n  route: [{destination: {host: reviews}}]",
         "spec.http[0].match[0].gateways[0]"),
    ],
)  # fmt: skip
def test_every_reference_is_followed(http: str, path: str) -> None:
    text = rule("VirtualService", "r", "hosts: [reviews]\nhttp:\n" + http)
    (violation,) = analyze(world(), parsed(text))
    assert (violation.path, violation.severity) == (path, "error")


def test_a_missing_gateway_is_an_error_and_one_of_another_namespace_is_found() -> None:
    text = rule("VirtualService", "r", "hosts: ['*']\ngateways: [egde]\nhttp: [{directResponse: {status: 200}}]")
    (finding,) = findings(world(GATEWAY), text)
    assert "there is no Gateway default/egde; did you mean default/edge?" in finding
    assert findings(world(GATEWAY), text.replace("egde", "default/edge")) == []
    assert findings(world(GATEWAY), text.replace("egde", "edge")) == []


def test_a_gateway_that_selects_nothing_is_a_warning() -> None:
    (finding,) = findings(world(), GATEWAY.replace("ingressgateway", "ingressgateway2"))
    assert "spec.selector: warning: selects no gateway that is registered" in finding
    (finding,) = findings(world(), GATEWAY.replace("number: 80", "number: 81"))
    assert "is 81, for which no selected gateway listens; they have 80" in finding


def test_the_same_rule_twice_in_a_call_is_an_error() -> None:
    found = findings(world(), SUBSETS, SUBSETS)
    assert found == [
        "rules1.yaml:4: DestinationRule/reviews: metadata.name: DestinationRule default/reviews is given twice,"
        " first in rules0.yaml:1; keep one of them"
    ]


def test_two_rules_for_one_host_are_both_shown() -> None:
    one, other = findings(
        world(SUBSETS), to("v1"), to("v3", name="reviews-2", host="reviews.default.svc.cluster.local")
    )
    assert one.startswith("rules0.yaml:6: VirtualService/reviews: spec.hosts[0]: reviews has another rule")
    assert "VirtualService default/reviews-2 (rules1.yaml:1)" in one
    assert other.startswith("rules1.yaml:6: VirtualService/reviews-2: spec.hosts[0]: reviews has another rule")


def test_rules_of_one_gateway_are_merged_unless_both_take_everything() -> None:
    text = "hosts: ['*']\ngateways: [edge]\nhttp:\n- {}directResponse: {{status: 200}}"
    all_, other, some = (
        rule("VirtualService", name, text.format(match))
        for name, match in (("a", ""), ("b", ""), ("c", "match: [{uri: {prefix: /c}}]\n  "))
    )
    assert findings(world(GATEWAY), all_, some) == []
    found = findings(world(GATEWAY), all_, other)
    assert len(found) == 2
    assert all("warning: * on default/edge has another rule that catches everything" in finding for finding in found)


def test_destination_rules_add_up_unless_they_contradict() -> None:
    policy = rule("DestinationRule", "policy", "host: reviews\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}")
    assert findings(world(SUBSETS), policy) == []
    found = findings(world(policy), policy.replace("name: policy", "name: policy-2"))
    assert len(found) == 2
    assert all("gets a traffic policy from DestinationRule" in finding for finding in found)
    found = findings(
        world(SUBSETS), SUBSETS.replace("name: reviews", "name: other").replace("version: v3", "version: v4")
    )
    assert len(found) == 2
    assert all("the subset 'v3' of reviews.default.svc.cluster.local is defined differently by" in f for f in found)


def test_two_peer_authentications_for_the_same_workloads_are_both_shown() -> None:
    def policy(name: str, mode: str, selector: str = "") -> str:
        return rule("PeerAuthentication", name, f"mtls: {{mode: {mode}}}\n{selector}")

    reviews, ratings = (f"selector: {{matchLabels: {{app: {app}}}}}" for app in ("reviews", "ratings"))
    apart = policy("default", "PERMISSIVE"), policy("reviews", "STRICT", reviews), policy("ratings", "STRICT", ratings)
    assert findings(world(), *apart) == []
    elsewhere = policy("strict", "STRICT").replace("name: strict", "name: strict\n  namespace: other")
    assert findings(world(*apart), elsewhere) == []

    older, newer = findings(world(policy("default", "PERMISSIVE")), policy("strict", "STRICT"))
    assert older.startswith(
        "rules0.yaml:5: PeerAuthentication/default: spec: is for all of namespace default, and so is"
    )
    assert "PeerAuthentication default/strict (rules0.yaml:1); write what is to hold in one of them" in older
    assert "PeerAuthentication/strict: spec: is for all of namespace default, and so is" in newer

    found = findings(world(*apart), policy("reviews-2", "DISABLE", reviews))
    assert [" is for the workloads app=reviews of namespace default, and so is" in each for each in found] == [
        True,
        True,
    ]


def test_of_many_rules_that_contradict_each_other_each_is_told_of_one_and_of_how_many_there_are() -> None:
    count = 300
    found = findings(world(SUBSETS), *(to("v1", name=f"reviews-{number}") for number in range(count)))
    assert len(found) == count
    assert "reviews has another rule, VirtualService default/reviews-1 (rules1.yaml:1) and 298 more; merge" in found[0]
    assert all("VirtualService default/reviews-0 (rules0.yaml:1) and 298 more; merge" in each for each in found[1:])

    text = "hosts: ['*']\ngateways: [edge]\nhttp:\n- directResponse: {status: 200}"
    found = findings(world(GATEWAY), *(rule("VirtualService", f"all-{number}", text) for number in range(count)))
    assert len(found) == count
    assert all(" and 298 more; only one can" in each for each in found)

    policy = rule("DestinationRule", "policy", "host: reviews\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}")
    others = (policy.replace("name: policy", f"name: policy-{number}") for number in range(count))
    found = findings(world(), *others)
    assert sum(" and 298 more too; write it in one of them" in each for each in found) == count


@pytest.mark.parametrize("name", ["all-0", "all-1", "all-2"], ids=["the oldest", "another", "the newest"])
def test_one_rule_less_that_contradicts_others_is_no_new_problem_of_theirs(name: str) -> None:
    text = "hosts: ['*']\ngateways: [edge]\nhttp:\n- directResponse: {status: 200}"
    stored = world(GATEWAY, *(rule("VirtualService", f"all-{number}", text) for number in range(4)))
    assert len(analyze_stored(stored)) == 4
    assert analyze(stored, Parsed(), deleted=[Key("VirtualService", "default", name)]) == []


def test_a_subset_of_many_rules_is_told_of_where_it_is_another() -> None:
    def defining(name: str, version: str) -> str:
        labels = f"{{version: {version}}}"
        return rule("DestinationRule", name, f"host: reviews\nsubsets: [{{name: v, labels: {labels}}}]")

    found = findings(world(), defining("a", "v1"), defining("b", "v1"), defining("c", "v2"), defining("d", "v3"))
    found = [each for each in found if "is defined differently" in each]
    assert [each.partition(" by ")[2].partition(";")[0] for each in found] == [
        "DestinationRule default/c (rules2.yaml:1) and 1 more",
        "DestinationRule default/c (rules2.yaml:1) and 1 more",
        "DestinationRule default/a (rules0.yaml:1) and 1 more",
        "DestinationRule default/a (rules0.yaml:1) and 1 more",
    ]


def test_routes_behind_one_that_takes_everything_are_warned_of() -> None:
    more = "- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: reviews}}]"
    assert findings(world(SUBSETS), to("v1", more=more)) == [
        "rules0.yaml:9: VirtualService/reviews: spec.http[1]: warning: is never reached: the route before it, line 8,"
        " takes every request; move it up"
    ]


def test_the_same_condition_twice_is_warned_of() -> None:
    text = rule("VirtualService", "r", "hosts: [reviews]\nhttp:\n" + 2 * (
        "- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: reviews}}]\n"))  # fmt: skip
    (finding,) = findings(world(), text)
    assert "spec.http[1].match[0]: warning: is never reached: line 8 has the same condition" in finding


def test_a_fault_that_affects_no_one_is_warned_of() -> None:
    more = (
        "- match: [{uri: {prefix: /}}]\n  fault: {abort: {httpStatus: 500}}\n  route: [{destination: {host: reviews}}]"
    )
    text = rule("VirtualService", "r", "hosts: [reviews]\nhttp:\n" + more)
    (finding,) = findings(world(), text)
    assert "spec.http[0].fault.abort: warning: affects no request" in finding


def test_deleting_what_others_need_is_an_error_on_them() -> None:
    stored = world(SUBSETS, to("v1"))
    (violation,) = analyze(stored, Parsed(), deleted=[Key("DestinationRule", "default", "reviews")])
    assert (violation.kind, violation.path, violation.severity) == (
        "VirtualService", "spec.http[0].route[0].destination.subset", "error",
    )  # fmt: skip
    both = [Key("DestinationRule", "default", "reviews"), Key("VirtualService", "default", "reviews")]
    assert analyze(stored, Parsed(), deleted=both) == []


def test_a_change_that_takes_a_subset_from_others_is_an_error_on_them() -> None:
    stored = world(SUBSETS, to("v3"))
    without = rule("DestinationRule", "reviews", "host: reviews\nsubsets: [{name: v1, labels: {version: v1}}]")
    (violation,) = analyze(stored, parsed(without))
    assert violation.kind == "VirtualService"
    assert "a subset that reviews does not have; its DestinationRule defines v1" in violation.message


def test_what_was_wrong_before_is_not_held_against_a_change() -> None:
    stored = world(to("v9", name="ratings", host="ratings"))
    assert [v.severity for v in analyze_stored(stored)] == ["error"]
    assert findings(stored, SUBSETS) == []
    assert len(findings(stored, to("v8", name="ratings", host="ratings"))) == 1


def test_a_port_s_mode_that_cannot_be_kept_is_warned_of() -> None:
    ports = [{"service_port": 80, "app": "127.0.0.1:1"}, {"service_port": 81, "app": "127.0.0.1:2"}]
    stored = world(workloads=[workload("a", "a", "v1", 9001, ports=ports)])
    text = rule("PeerAuthentication", "a", "selector: {matchLabels: {app: a}}\nportLevelMtls:\n  80: {mode: STRICT}")
    (finding,) = findings(stored, text)
    assert "spec.portLevelMtls: warning: differs between ports of a, which share one address; STRICT holds" in finding
    (finding,) = findings(stored, text.replace("80:", "82:"))
    assert (
        "spec.portLevelMtls.82: warning: names port 82, which no selected workload has; they have [80, 81]" in finding
    )


def test_bytes_at_an_address_with_other_ports_are_warned_of() -> None:
    ports = [{"service_port": 80, "app": "127.0.0.1:1"}, {"service_port": 81, "app": "127.0.0.1:2"}]
    stored = world(workloads=[workload("db-v1", "db", "v1", 9001, ports=ports)])
    text = rule("Service", "db", "selector: {app: db}\nports: [{port: 80, name: tcp-db}, {port: 81, name: http}]")
    (finding,) = findings(stored, text)
    assert "Service/db: spec.ports[0]: warning: is TCP, but db-v1 takes it at an address with other ports" in finding


def test_connection_routes_to_nowhere_are_errors() -> None:
    text = rule("VirtualService", "r", "hosts: [reviews]\ntcp:\n- match: [{gateways: [other]}]\n"
                "  route: [{destination: {host: nobody}}]")  # fmt: skip
    found = findings(world(), text)
    assert any("spec.tcp[0].route[0].destination.host: is 'nobody'" in each for each in found), found
    assert any("spec.tcp[0].match[0].gateways[0]" in each for each in found), found


@pytest.mark.parametrize(
    ("offered", "host", "namespace", "finding"),
    [
        ("shop.example.com", "shop.example.com", "default", False),
        ("'*'", "shop.example.com", "default", False),
        ("'*.example.com'", "shop.example.com", "default", False),
        ("shop.example.com", "'*.example.com'", "default", False),
        ("shop.example.com", "'*'", "default", False),
        ("shop.example.com", "shpo.example.com", "default", True),
        ("'*.example.com'", "example.com", "default", True),
        ("./shop.example.com", "shop.example.com", "default", False),
        ("./shop.example.com", "shop.example.com", "other", True),
        ("other/shop.example.com", "shop.example.com", "other", False),
        ("other/shop.example.com", "shop.example.com", "default", True),
    ],
)
def test_a_host_that_the_rules_gateway_does_not_answer_for_is_a_warning(
    offered: str, host: str, namespace: str, finding: bool
) -> None:
    gateway = GATEWAY.replace("'*'", offered)
    spec = f"hosts: [{host}]\ngateways: [default/edge]\nhttp: [{{directResponse: {{status: 200}}}}]"
    found = findings(world(gateway), rule("VirtualService", "r", spec, namespace))
    assert [("spec.hosts[0]: warning: is " in each) for each in found] == [True] * finding, found


def test_a_gateway_without_any_rule_for_its_hosts_is_no_finding() -> None:
    assert findings(world(), GATEWAY.replace("'*'", "ingress.example.com")) == []


def test_a_secret_of_kubernetes_is_none_of_a_mesh_outside_a_cluster() -> None:
    text = rule(
        "Gateway",
        "edge",
        "selector: {nobody: yet}\nservers:\n- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
        "  tls: {mode: SIMPLE, credentialName: shop}",
    )
    said = "tls.credentialName: names a Secret of Kubernetes, and this mesh is not in a cluster"
    assert any(said in finding for finding in findings(world(), text))


def test_a_service_belongs_to_its_namespace_whoever_was_quicker_to_write_a_rule_for_it() -> None:
    spec = "hosts: [reviews.default.svc.cluster.local]\nhttp: [{directResponse: {status: 200}}]"
    strangers = rule("VirtualService", "squat", spec, "evil")
    theirs, ours = sorted(findings(world(SUBSETS, strangers), to("v1")), key=lambda each: "/squat: " not in each)
    assert ours.endswith(
        "VirtualService/reviews: spec.hosts[0]: warning: reviews is also in VirtualService evil/squat (rules1.yaml:1),"
        " which has no effect on it beside this rule of its own namespace"
    )
    assert "VirtualService/squat: spec.hosts[0]: warning: reviews.default has a rule of its own namespace" in theirs
    assert "VirtualService default/reviews" in theirs
    assert all(": warning: " in each for each in findings(world(SUBSETS, to("v1")), strangers))


def test_services_are_named_as_the_rules_own_namespace_would_name_them() -> None:
    elsewhere = rule("DestinationRule", "other", "host: rewiev", "shop")
    assert findings(world(), elsewhere)[0].endswith(
        "known are details.default, productpage.default, ratings.default, reviews.default"
    )
