"""Peer metadata: what Istio's sidecars write is understood, what anyone else writes is harmless."""

import base64
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.records import Workload
from sidecar.telemetry.peer import MAX_METADATA_BYTES, decode, identify

_ISTIO: dict[str, Any] = {
    "APP_CONTAINERS": "reviews",
    "CLUSTER_ID": "Kubernetes",
    "INSTANCE_IPS": "10.244.0.8",
    "ISTIO_VERSION": "1.24.0",
    "LABELS": {
        "app": "reviews",
        "version": "v3",
        "service.istio.io/canonical-name": "reviews-canonical",
        "service.istio.io/canonical-revision": "r3",
        "security.istio.io/tlsMode": "istio",
    },
    "NAME": "reviews-v3-6dc9897554-8x7zk",
    "NAMESPACE": "default",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v3",
    "PLATFORM_METADATA": {"deep": {"number": 1.5, "flag": True, "list": ["a", None]}},
    "WORKLOAD_NAME": "reviews-v3",
}
_PRINCIPAL = "spiffe://cluster.local/ns/default/sa/reviews"


def _encode(document: dict[str, Any], *, padded: bool = True) -> bytes:
    struct = json_format.ParseDict(document, struct_pb2.Struct())
    encoded = base64.b64encode(struct.SerializeToString(deterministic=True))
    return encoded if padded else encoded.rstrip(b"=")


def test_reads_what_istio_writes() -> None:
    expected = Workload("reviews-v3", "default", "reviews", "v3", "reviews-canonical", "r3", "Kubernetes")
    assert decode(_encode(_ISTIO)) == expected
    assert decode(_encode(_ISTIO, padded=False)) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({}, Workload(), id="nothing"),
        pytest.param(
            {"WORKLOAD_NAME": "w"}, Workload("w", canonical_service="w"), id="the name stands in for the service"
        ),
        pytest.param(
            {"WORKLOAD_NAME": "w", "LABELS": {"app": "a", "version": "v"}},
            Workload("w", app="a", version="v", canonical_service="a", canonical_revision="v"),
            id="app and version stand in",
        ),
        pytest.param({"WORKLOAD_NAME": 5, "NAMESPACE": ["x"], "LABELS": "app"}, Workload(), id="other types"),
        pytest.param({"WORKLOAD_NAME": "x" * 254}, Workload(), id="too long a name"),
        pytest.param({"WORKLOAD_NAME": "a\nb", "NAMESPACE": "a\x1b[31m"}, Workload(), id="control characters"),
        pytest.param({"WORKLOAD_NAME": ""}, Workload(), id="an empty name"),
    ],
)
def test_reads(document: dict[str, Any], expected: Workload) -> None:
    assert decode(_encode(document)) == expected


def _nested(depth: int) -> dict[str, Any]:
    return {"a": _nested(depth - 1)} if depth else {"WORKLOAD_NAME": "w"}


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not base64!", id="not base64"),
        pytest.param(b"=" * 12, id="padding alone"),
        pytest.param(b"A" * (MAX_METADATA_BYTES + 4), id="too long"),
        pytest.param(_encode(_ISTIO)[:-8], id="cut off"),
        pytest.param(base64.b64encode(b"\x0b"), id="a group"),
        pytest.param(base64.b64encode(b"\x02\x00"), id="field number 0"),
        pytest.param(base64.b64encode(b"\xff" * 11), id="an endless number"),
        pytest.param(base64.b64encode(b"\x0a\x7f"), id="a length beyond the end"),
        pytest.param(base64.b64encode(b"\x0a\x04\x0a\x02\xff\xfe"), id="a key that is no text"),
        pytest.param(_encode({str(number): "" for number in range(500)}), id="too many fields"),
        pytest.param(_encode(_nested(9)), id="too deep"),
    ],
)
def test_junk_is_an_unknown_peer(metadata: bytes) -> None:
    assert decode(metadata) == Workload()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unknown(data: bytes) -> None:
    for metadata in (data, base64.b64encode(data)):
        told = decode(metadata)
        assert told.principal == "unknown"
        assert len(told.name) <= 253


def test_proof_and_word_together_make_a_peer() -> None:
    told = identify(_encode(_ISTIO), _PRINCIPAL)
    assert (told.name, told.namespace, told.principal) == ("reviews-v3", "default", _PRINCIPAL)


def test_a_word_without_proof_is_not_believed() -> None:
    assert identify(_encode(_ISTIO), None) == Workload()


def test_proof_without_a_word_tells_the_namespace() -> None:
    assert identify(None, _PRINCIPAL) == Workload(namespace="default", principal=_PRINCIPAL)


def test_a_word_against_the_proof_is_not_believed() -> None:
    other = "spiffe://cluster.local/ns/payments/sa/reviews"
    assert identify(_encode(_ISTIO), other) == Workload(namespace="payments", principal=other)
