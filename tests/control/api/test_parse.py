"""What is right is understood: Istio's spellings, comments kept, namespaces, lists, every version of a kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api import KINDS, Key, SourceFile, find_kind, parse
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.peer_authentication import PeerAuthenticationSpec
from control.api.kinds.service import ServiceSpec
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.scalars import parse_duration_s
from tests.control.translate.bookinfo import rule

SUBSETS = "host: reviews\nsubsets: [{name: v1, labels: {version: v1}}]"


def virtual_service(http: str) -> VirtualServiceSpec:
    parsed = parse([SourceFile("a.yaml", rule("VirtualService", "a", "hosts: [a]\nhttp:\n" + http))])
    assert parsed.ok, [str(v) for v in parsed.violations]
    spec = parsed.resources[0].spec
    assert isinstance(spec, VirtualServiceSpec)
    return spec


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1h5m", 3900),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("0s", 0),
        ("1m30s", 90),
        ("1ms", 0.001),
    ],
)
def test_durations_are_spelt_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


def test_percentages_are_numbers_or_values() -> None:
    fault = "fault: {{delay: {{fixedDelay: 7s, {}}}}}"
    for spelling in ("percentage: {value: 12.5}", "percentage: 12.5"):
        spec = virtual_service(f"- {fault.format(spelling)}\n  route: [{{destination: {{host: a}}}}]")
        assert spec.http[0].fault is not None
        assert spec.http[0].fault.delay is not None
        assert spec.http[0].fault.delay.percentage is not None
        assert spec.http[0].fault.delay.percentage.value == 12.5


def test_documents_keep_their_own_text_and_lines() -> None:
    text = "# the reviews\n" + rule("DestinationRule", "reviews", SUBSETS) + "---\n\n# ratings, too\n" + rule(
        "DestinationRule", "ratings", "host: ratings   # as it is\n"
    )  # fmt: skip
    first, second = parse([SourceFile("a.yaml", text)]).resources
    assert first.text == "# the reviews\n" + rule("DestinationRule", "reviews", SUBSETS)
    assert second.text.startswith("# ratings, too\napiVersion")
    assert second.text.endswith("host: ratings   # as it is\n")
    assert (first.line, second.line) == (2, 12)
    assert second.lines["spec", "host"] == 17
    assert second.violation(("spec", "subsets"), "m").line == 16


def test_a_list_is_its_items() -> None:
    item = "- apiVersion: networking.istio.io/v1\n  kind: DestinationRule\n  metadata: {name: %s}\n  spec: {host: %s}\n"
    text = "apiVersion: v1\nkind: List\nitems:\n" + item % ("a", "a") + item % ("b", "b")
    parsed = parse([SourceFile("a.yaml", text)])
    assert [r.key for r in parsed.resources] == [
        Key("DestinationRule", "default", "a"),
        Key("DestinationRule", "default", "b"),
    ]
    assert parsed.resources[1].lines["spec", "host"] == 11
    again = parse([SourceFile("b.yaml", parsed.resources[1].text)])
    assert again.resources == (parsed.resources[1],)


def test_a_namespace_is_the_document_s_or_the_default() -> None:
    texts = [rule("DestinationRule", "a", SUBSETS), rule("DestinationRule", "a", SUBSETS, "prod")]
    parsed = parse([SourceFile("a", text) for text in texts], default_namespace="test")
    assert [r.namespace for r in parsed.resources] == ["test", "prod"]
    assert [r.document["metadata"]["namespace"] for r in parsed.resources] == ["test", "prod"]


def test_what_a_server_adds_makes_no_difference() -> None:
    plain = rule("DestinationRule", "a", SUBSETS)
    served = plain.replace(
        "  name: a\n", "  name: a\n  uid: x\n  generation: 3\n  creationTimestamp: 2026-01-01T00:00:00Z\n"
    )
    served += "status: {}\n"
    one, other = (parse([SourceFile("a", text)]).resources[0] for text in (plain, served))
    assert one == other
    assert "uid" not in other.document["metadata"]


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version_of_istio_s_networking_is_taken(version: str) -> None:
    text = rule("DestinationRule", "a", SUBSETS).replace("io/v1", f"io/{version}")
    assert parse([SourceFile("a", text)]).ok


@pytest.mark.parametrize("word", ["VirtualService", "virtualservices", "virtualservice", "vs", "VS"])
def test_kinds_have_the_names_that_people_use(word: str) -> None:
    assert find_kind(word) is KINDS["VirtualService"]
    assert find_kind("nothing") is None


def test_json_is_yaml() -> None:
    text = (
        '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, '
        '"spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "http"}]}}'
    )
    spec = parse([SourceFile("a.json", text)]).resources[0].spec
    assert isinstance(spec, ServiceSpec)
    assert spec.ports[0].target_port == "http"


def test_a_byte_order_mark_and_dos_lines_are_no_obstacle() -> None:
    text = "\ufeff" + rule("DestinationRule", "a", SUBSETS).replace("\n", "\r\n")
    resource = parse([SourceFile("a", text)]).resources[0]
    assert resource.lines["spec", "subsets"] == 7


def test_port_numbers_are_keys_with_or_without_quotes() -> None:
    for key in ("8080", '"8080"'):
        text = rule(
            "PeerAuthentication",
            "a",
            f"selector: {{matchLabels: {{a: b}}}}\nportLevelMtls: {{{key}: {{mode: STRICT}}}}",
        )
        spec = parse([SourceFile("a", text)]).resources[0].spec
        assert isinstance(spec, PeerAuthenticationSpec)
        assert spec.port_level_mtls[8080].mode == "STRICT"


def test_a_single_destination_needs_no_weight_and_may_have_any() -> None:
    for weight in ("", ", weight: 100", ", weight: 7"):
        spec = virtual_service(f"- route: [{{destination: {{host: a}}{weight}}}]")
        assert len(spec.http[0].route) == 1


def test_the_older_spellings_of_mirrors_are_one_with_the_newer() -> None:
    old = virtual_service("- route: [{destination: {host: a}}]\n  mirror: {host: b}\n  mirrorPercentage: {value: 10}")
    new = virtual_service(
        "- route: [{destination: {host: a}}]\n  mirrors: [{destination: {host: b}, percentage: {value: 10}}]"
    )
    assert old.http[0].all_mirrors == new.http[0].all_mirrors


def test_names_with_accents_are_only_values() -> None:
    spec = virtual_service(
        "- match: [{headers: {x: {exact: 'Zoë'}}}]\n  directResponse: {status: 200, body: {string: 'ñ'}}"
    )
    direct = spec.http[0].direct_response
    assert direct is not None
    assert direct.body is not None
    assert direct.body.content == "ñ".encode()


comments = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8).map(lambda text: f"# {text}\n")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["---\n", "--- # sep\n", "...\n---\n", "---\n---\n", "\n---\n\n"]),
            comments | st.just(""),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_document_s_own_text_says_the_same_as_the_document(parts: list[tuple[str, str, int]]) -> None:
    text = "".join(
        f"{separator}{comment}{rule('DestinationRule', f'a{number}', SUBSETS)}{comment}"
        for separator, comment, number in parts
    )
    resources = parse([SourceFile("a", text.removeprefix("...\n"))]).resources
    assert len(resources) == len(parts)
    for resource in resources:
        assert parse([SourceFile("b", resource.text)]).resources == (resource,)
        assert isinstance(resource.spec, DestinationRuleSpec)
