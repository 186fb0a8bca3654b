"""Who may ask: the API server's aggregation layer, which has authenticated and authorised whoever asks it.

It proves itself by a certificate of an authority that it names in a ConfigMap for that purpose.
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from control.kubernetes.client import KubeClient
from control.kubernetes.resources import CONFIG_MAPS
from remora.custom_metrics.certificate import Certificate

NAMESPACE: Final = "kube-system"
CONFIG_MAP: Final = "extension-apiserver-authentication"


class NoFrontProxy(Exception):
    """The cluster says nothing of an aggregation layer, or nothing that can be understood."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """The aggregation layer's certificate authority, and the common names it may use; none given: any."""

    authority_pem: str
    names: frozenset[str]


def read(config: Mapping[str, Any]) -> FrontProxy:
    """Of the ConfigMap's `data`. Raises NoFrontProxy."""
    pem = str(config.get("requestheader-client-ca-file") or "")
    if not pem:
        raise NoFrontProxy(
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP} has no requestheader-client-ca-file: the API server's aggregation "
            "layer is not configured (--requestheader-client-ca-file)"
        )
    try:
        names = json.loads(config.get("requestheader-allowed-names") or "[]")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no list of texts")
    except ValueError as error:
        raise NoFrontProxy(f"requestheader-allowed-names of {NAMESPACE}/{CONFIG_MAP}: {error}") from error
    return FrontProxy(pem, frozenset(names))


async def fetch(client: KubeClient) -> FrontProxy:
    """Raises ApiError, NoFrontProxy."""
    found = await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE)
    return read(found.get("data") or {})


def tls(certificate: Certificate, proxy: FrontProxy) -> ssl.SSLContext:
    """Serves nobody but the front proxy. Raises NoFrontProxy for an authority that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=proxy.authority_pem)
    except (ssl.SSLError, ValueError) as error:
        raise NoFrontProxy(f"requestheader-client-ca-file of {NAMESPACE}/{CONFIG_MAP} is no PEM: {error}") from error
    # OpenSSL reads a key from files alone: this one is memory with a descriptor.
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write((certificate.chain + certificate.key).encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def admitted(proxy: FrontProxy, peer: Mapping[str, Any] | None) -> bool:
    """Whether a verified peer's certificate (as `ssl.SSLSocket.getpeercert` has it) is the front proxy's."""
    if not peer:
        return False
    if not proxy.names:
        return True
    names = {value for part in peer.get("subject", ()) for key, value in part if key == "commonName"}
    return bool(names & proxy.names)
