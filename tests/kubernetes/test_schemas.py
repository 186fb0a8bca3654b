"""What the fake API server refuses, drops and warns of, in the real one's words as far as clients read them."""

from typing import Any

import pytest

from tests.kubernetes import cel_rules
from tests.kubernetes.client import DEFINITIONS, PODS, RULES, Client
from tests.kubernetes.objects import crd, rule

APPLY = "application/apply-patch+yaml"
SCHEMA = {
    "type": "object",
    "properties": {
        "hosts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["number"],
            "items": {
                "type": "object",
                "required": ["number"],
                "properties": {"number": {"type": "integer", "maximum": 65535}, "name": {"type": "string"}},
                "x-kubernetes-validations": [{"rule": "has(self.name)", "message": "has no name"}],
            },
        },
        "timeout": {"type": "string", "nullable": True},
    },
    "x-kubernetes-validations": [{"rule": "!has(self.hosts) || self.hosts.all(h, h != 'bad')"}],
}


async def defined(call: Client) -> None:
    definition = crd("VirtualService", "virtualservices", "networking.istio.io", schema=SCHEMA)
    assert (await call("POST", DEFINITIONS, definition))[0] == 201


def a_pod(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"containers": list(containers), **spec},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"hosts": "a"}, {"spec.hosts": "is not of type 'array'"}),
        ({"hosts": ["a", "a"]}, {"spec.hosts[1]": 'Duplicate value: "a"'}),
        ({"ports": [{"number": 1, "name": "x"}, {"number": 1, "name": "y"}]}, {"spec.ports[1]": "Duplicate value"}),
        ({"ports": [{"name": "x"}]}, {"spec.ports[0].number": "Required value"}),
        ({"ports": [{"number": 65536, "name": "x"}]}, {"spec.ports[0].number": "greater than the maximum"}),
        ({"ports": [{"number": 1}]}, {"spec.ports[0]": "has no name"}),
        ({"hosts": ["bad"], "ports": [{"number": 1}]}, {"spec": "failed rule", "spec.ports[0]": "has no name"}),
        ({"hosts": "bad", "ports": [{"number": 1}]}, {"spec.hosts": "is not of type"}),
    ],
)
async def test_a_custom_resource_is_refused_with_the_field_and_the_reason(
    call: Client, spec: Any, causes: dict[str, str]
) -> None:
    await defined(call)
    status, refused = await call("POST", RULES, rule("VirtualService", "a", spec))
    assert (status, refused["reason"]) == (422, "Invalid")
    said = {each["field"]: each["message"] for each in refused["details"]["causes"]}
    assert said.keys() == causes.keys()
    for field, message in causes.items():
        assert message in said[field]


async def test_a_custom_resource_that_its_schema_takes_is_taken_and_null_where_it_may_be(call: Client) -> None:
    await defined(call)
    spec = {"hosts": ["a", "b"], "ports": [{"number": 1, "name": "x"}], "timeout": None}
    status, made = await call("POST", RULES, rule("VirtualService", "a", spec), dryRun="All")
    assert (status, made["spec"]) == (201, spec)
    assert (await call("GET", f"{RULES}/a"))[0] == 404, "it was a dry run"


async def test_what_was_wrong_before_keeps_nobody_from_another_change(call: Client) -> None:
    await defined(call)
    call.server.seed(rule("VirtualService", "a", {"hosts": ["bad"]}))
    patch = {"metadata": {"labels": {"a": "b"}}}
    form = "application/merge-patch+json"
    assert (await call("PATCH", f"{RULES}/a", patch, form=form))[0] == 200
    worse = {"spec": {"ports": [{"number": 1}]}}
    status, refused = await call("PATCH", f"{RULES}/a", worse, form=form)
    assert (status, [each["field"] for each in refused["details"]["causes"]]) == (422, ["spec.ports[0]"])


@pytest.mark.parametrize(
    ("containers", "status", "said"),
    [
        ([], 422, "spec.containers: Required value"),
        ([{"image": "a"}], 422, "spec.containers[0].name: Required value"),
        ([{"name": "a"}, {"name": "a"}], 422, 'spec.containers[1].name: Duplicate value: "a"'),
        (
            [{"name": "a", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}],
            422,
            'spec.containers[0].volumeMounts[0].name: Not found: "x"',
        ),
        (
            [{"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}],
            422,
            'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        ),
        ([{"name": 1}], 400, "json: cannot unmarshal spec.containers[0].name"),
        ([{"name": "a", "foo": 1}], 400, 'strict decoding error: unknown field "spec.containers[0].foo"'),
    ],
)
async def test_a_pod_is_judged_by_its_type_and_by_what_its_parts_name(
    call: Client, containers: list[Any], status: int, said: str
) -> None:
    made = a_pod(*containers, volumes=[{"name": "v", "emptyDir": {}}])
    got, refused = await call("POST", PODS, made, fieldValidation="Strict")
    assert got == status
    assert said in refused["message"]


async def test_unknown_fields_are_dropped_and_told_of_unless_a_client_is_strict(call: Client) -> None:
    wrong = a_pod({"name": "a", "foo": 1})
    headers = {"Authorization": "Bearer admin"}
    async with call.session.post(call.server.url + PODS, json=wrong, headers=headers) as response:
        assert response.status == 201
        assert response.headers.getall("Warning") == ['299 - "unknown field \\"spec.containers[0].foo\\""']
        assert "foo" not in (await response.json())["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        ([{"name": "a", "foo": 1}], ".spec.containers[0].foo: field not declared in schema"),
        ([{"name": 1}], ".spec.containers[0].name: 1 is not of type"),
    ],
)
async def test_server_side_apply_merges_nothing_that_has_no_type(
    call: Client, containers: list[Any], said: str
) -> None:
    status, refused = await call("PATCH", f"{PODS}/a", a_pod(*containers), form=APPLY, fieldManager="cli")
    assert status == 500
    assert refused["message"].startswith("failed to create typed patch object (default/a; /v1, Kind=Pod): ")
    assert said in refused["message"]


async def test_who_gives_up_an_item_of_a_list_gives_up_what_others_set_within_it(call: Client) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/a"
    webhooks = [
        {"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": "https://a"}}
        for name in ("one", "two")
    ]
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "a"}, "webhooks": webhooks,
    }  # fmt: skip
    assert (await call("PATCH", path, document, form=APPLY, fieldManager="cli"))[0] == 201
    bundle = [{"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": "eA=="} for index in (0, 1)]
    form = "application/json-patch+json"
    assert (await call("PATCH", path, bundle, form=form, fieldManager="control"))[0] == 200
    status, left = await call("PATCH", path, {**document, "webhooks": webhooks[:1]}, form=APPLY, fieldManager="cli")
    assert status == 200
    (one,) = left["webhooks"]
    assert one["clientConfig"] == {"url": "https://a", "caBundle": "eA=="}


def test_a_rule_that_names_what_there_is_not_is_an_error_of_the_rule() -> None:
    with pytest.raises((ValueError, RuntimeError)):
        cel_rules.holds("nothing(self)", {})
    assert not cel_rules.holds("self.missing == 1", {}), "an error in evaluating is a refusal"
