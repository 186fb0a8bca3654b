"""A root that is exchanged while the cluster is used: whoever looks at whatever moment trusts what is shown."""

import base64
import ssl
import time
from typing import Any

from cryptography import x509

from control.ca.in_cluster import RootSecret
from control.ca.root import Roots, introduced, promoted
from control.ca.template import DEFAULT_LIFETIMES
from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.control import LeastPrivileged
from tests.e2e.test_identity import first_certificate
from tests.e2e.test_injection import containers, pod

SEEN_S = 25.0
"""Two looks at the Secret, of ten seconds each."""


class Rotation:
    """What the leader does in years, by the test's hand."""

    def __init__(self, cluster: Cluster, control: LeastPrivileged) -> None:
        self.cluster = cluster
        self.control = control
        self.secret = RootSecret(cluster.client, SYSTEM)
        self.meshed = cluster.namespace("e2e-rotation", **{"remora.io/injection": "enabled"})

    def roots(self) -> Roots:
        found = self.cluster.run(self.secret.read())
        assert found is not None
        return found

    def write(self, roots: Roots) -> None:
        self.cluster.run(self.secret.replace(roots))
        self.control.forget_root()

    def everyone_trusts(self, pem: str) -> bool:
        config = self.cluster.get("ConfigMap", "remora-ca-root-cert", self.meshed)["data"]["root.pem"]
        webhooks = self.cluster.get("MutatingWebhookConfiguration", "remora-injector")["webhooks"]
        bundles = {base64.b64decode(each["clientConfig"]["caBundle"]).decode() for each in webhooks}
        return config == pem and bundles == {pem}

    def injects(self) -> bool:
        return "remora-proxy" in containers(self.cluster.create(pod(self.meshed)))

    def webhooks_signer(self) -> Any:
        with self.cluster.place.entered():
            shown = ssl.get_server_certificate(("127.0.0.1", self.control.ports["webhook"]))
        return x509.load_pem_x509_certificate(shown.encode()).issuer


def test_pods_are_injected_and_certificates_given_all_the_way_through(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    rotation = Rotation(cluster, control)
    said_before = len(control.said())
    before = rotation.roots()
    assert rotation.injects()
    both = introduced(before, "cluster.local", now=time.time(), lifetimes=DEFAULT_LIFETIMES)
    rotation.write(both)
    assert rotation.injects()
    until(lambda: rotation.everyone_trusts(both.pem), "both roots are everywhere", within=SEEN_S)
    assert rotation.injects()
    after = promoted(both)
    rotation.write(after)
    until(
        lambda: rotation.injects() and rotation.webhooks_signer() == after.signer.certificate.subject,
        "the new root signs, and no pod was refused meanwhile",
        within=SEEN_S,
    )
    until(lambda: rotation.everyone_trusts(after.pem), "the signer stands first everywhere", within=SEEN_S)
    made = cluster.create(pod(rotation.meshed, "client"))
    token = cluster.token(rotation.meshed, "default", "remora-ca", made)
    assert first_certificate(control, token), "over a connection that the new root vouches for"
    said = control.said()[said_before:]
    assert "ERROR" not in "\n".join(each for each in said.splitlines() if "control.ca" in each)
