"""From a service account's token to a certificate: TokenReview by the API server, on the control plane's own port."""

import asyncio
from typing import Any

import grpc
import pytest
from cryptography import x509

from mesh.csr import FULL_METHOD, CertificateRequest, CertificateResponse
from tests.control.ca.requests import csr, uri
from tests.e2e.cluster import Cluster
from tests.e2e.control import LeastPrivileged

Json = dict[str, Any]


def first_certificate(control: LeastPrivileged, token: str, **metadata: str) -> list[x509.GeneralName]:
    """The names in it."""

    async def ask() -> CertificateResponse:
        async with control.channel("csr") as channel:
            call = channel.unary_unary(FULL_METHOD, response_deserializer=CertificateResponse.from_bytes)
            sent = (("authorization", f"Bearer {token}"),)
            request = CertificateRequest(csr(), metadata=dict(metadata)).to_bytes()
            answer: CertificateResponse = await call(request, metadata=sent, timeout=10)
            return answer

    with control._cluster.place.entered():
        chain = asyncio.run(ask()).cert_chain
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


@pytest.fixture(scope="module")
def client(cluster: Cluster, control: LeastPrivileged) -> Json:
    namespace = cluster.namespace("e2e-identity")
    cluster.account(namespace, "shop")
    return cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": namespace},
        "spec": {"serviceAccountName": "shop", "containers": [{"name": "app", "image": "app:1"}]},
    })  # fmt: skip


def test_a_projected_token_becomes_the_accounts_certificate(
    cluster: Cluster, control: LeastPrivileged, client: Json
) -> None:
    token = cluster.token("e2e-identity", "shop", "remora-ca", client)
    expected = [uri("spiffe://cluster.local/ns/e2e-identity/sa/shop")]
    assert first_certificate(control, token, POD_NAME="client") == expected
    assert '"workload":"e2e-identity/client"' in control.said(), "its record names the pod"
    assert token not in control.said()


@pytest.mark.parametrize(
    ("audience", "claims"),
    [("", {}), ("vault", {}), ("remora-ca", {"POD_NAME": "another"})],
    ids=["for the API server", "for somebody else", "of another pod"],
)
def test_any_other_token_is_refused_by_one_word(
    cluster: Cluster, control: LeastPrivileged, client: Json, audience: str, claims: dict[str, str]
) -> None:
    token = cluster.token("e2e-identity", "shop", audience, client)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        first_certificate(control, token, **claims)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


def test_a_forged_token_is_refused(control: LeastPrivileged) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        first_certificate(control, "eyJhbGciOiJub25lIn0.e30.")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
