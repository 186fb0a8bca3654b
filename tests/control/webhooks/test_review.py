"""Reviews read and answered: tables of what is malformed, and any bytes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.webhooks.review import MAX_WARNING_CHARACTERS, MAX_WARNINGS, Malformed, Verdict, parse_review, render
from tests.control.webhooks.reviews import encoded, patch_of, pod, review, virtual_service


def test_a_review_is_read() -> None:
    read = parse_review(encoded(review(virtual_service(), "UPDATE", before=virtual_service("old"), dryRun=True)))
    assert (read.operation, read.group, read.kind) == ("UPDATE", "networking.istio.io", "VirtualService")
    assert (read.namespace, read.name, read.dry_run, read.user) == ("default", "reviews", True, "somebody")
    assert read.found == virtual_service()
    assert read.before == virtual_service("old")


def test_a_pod_without_a_name_is_called_by_what_its_name_will_begin_with() -> None:
    assert parse_review(encoded(review(pod()))).name == "reviews-*"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no AdmissionReview"),
        (
            encoded(review(pod()) | {"apiVersion": "admission.k8s.io/v1beta1"}),
            "no AdmissionReview of admission.k8s.io/v1",
        ),
        (encoded(review(pod()) | {"kind": "Pod"}), "no AdmissionReview"),
        (encoded(review(pod()) | {"request": None}), "request is missing"),
        (encoded(review(pod(), uid="")), "request.uid"),
        (encoded(review(pod(), uid=7)), "request.uid must be text"),
        (encoded(review(pod(), uid="x" * 200)), "request.uid"),
        (encoded(review(pod(), uid="a\nb")), "request.uid"),
        (encoded(review(pod(), "EAT")), "request.operation"),
        (encoded(review(pod(), kind="Pod")), "kind is missing"),
        (encoded(review(pod(), object="pod")), "request.object must be an object"),
        (encoded(review(None)), "request.object is missing"),
        (encoded(review(pod(), oldObject=[])), "request.oldObject"),
        (encoded(review(pod(), namespace=[])), "request.namespace"),
        (encoded(review(pod(), dryRun="no")), "request.dryRun"),
        (b'{"a":' * 5000, "not JSON"),
        (encoded(review({"apiVersion": "v1", "kind": "Pod"}, object={"metadata": []})), "request.object.metadata"),
        (encoded(review(pod())).replace(b'"app:1"', b'{"a":' * 200 + b"1" + b"}" * 200), "more than 100 levels deep"),
    ],
)
def test_anything_else_is_malformed_and_says_where(body: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse_review(body)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), lambda s: st.lists(s)).map(encoded))
def test_no_bytes_do_anything_else(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_review(body)


@given(
    st.dictionaries(
        st.sampled_from(["uid", "operation", "kind", "namespace", "name", "object", "oldObject", "dryRun", "userInfo"]),
        st.none() | st.booleans() | st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    )
)
def test_a_review_with_strange_fields_is_malformed_or_answered_with_its_uid(strange: dict[str, object]) -> None:
    try:
        read = parse_review(encoded(review(pod(), **strange)))
    except Malformed:
        return
    assert orjson.loads(render(read, Verdict(True)))["response"]["uid"] == read.uid


def test_an_answer_has_the_uid_a_patch_and_warnings_of_one_line() -> None:
    read = parse_review(encoded(review(pod())))
    operation = {"op": "add", "path": "/metadata/labels/a", "value": "b"}
    answer = orjson.loads(render(read, Verdict(True, "", (operation,), ("two\nlines",) * 50 + ("x" * 1000,))))
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == (read.uid, True, "JSONPatch")
    assert patch_of(response) == [operation]
    assert response["warnings"] == ["two lines"] * MAX_WARNINGS
    long = orjson.loads(render(read, Verdict(True, warnings=("x" * 1000,))))["response"]["warnings"][0]
    assert len(long) == MAX_WARNING_CHARACTERS


def test_a_refusal_has_its_reason_and_never_a_patch() -> None:
    read = parse_review(encoded(review(pod())))
    response = orjson.loads(render(read, Verdict(False, "because", ({"op": "add"},))))["response"]
    assert response["status"] == {"code": 403, "reason": "Forbidden", "message": "because"}
    assert "patch" not in response
