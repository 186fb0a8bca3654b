"""The certificate is one of this server's, and the bundle keeps those of other replicas."""

import base64

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from remora.custom_metrics.certificate import MAX_ROOTS, joined, make

NOW = 1_769_860_800.0


def test_a_client_of_the_cluster_believes_it_by_its_root() -> None:
    made = make(["remora-custom-metrics.remora-system.svc"], NOW)
    root = x509.load_pem_x509_certificate(made.root.encode())
    leaf = x509.load_pem_x509_certificate(made.chain.encode())
    leaf.verify_directly_issued_by(root)
    verifier = PolicyBuilder().store(Store([root])).time(root.not_valid_before_utc)
    server = verifier.build_server_verifier(x509.DNSName("remora-custom-metrics.remora-system.svc"))
    assert server.verify(leaf, [])


def _roots(bundle: str) -> list[str]:
    text = base64.b64decode(bundle).decode()
    return [f"-----BEGIN{each}" for each in text.split("-----BEGIN")[1:]]


def test_replicas_add_their_roots_and_the_oldest_leave() -> None:
    bundle = ""
    made = [make(["a.svc"], NOW).root for _ in range(MAX_ROOTS + 2)]
    for root in made:
        bundle = joined(bundle, root)
        assert joined(bundle, root) == bundle, "once is enough"
    assert _roots(bundle) == made[2:]


def test_a_bundle_that_is_none_is_replaced() -> None:
    root = make(["a.svc"], NOW).root
    for broken in ("%%%", base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").decode()):
        assert _roots(joined(broken, root)) == [root]
