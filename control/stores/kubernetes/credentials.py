"""The Secrets that Gateways name, each followed by itself: a control plane that may read one need not be let read all.

`list` and `watch` with `metadata.name` as field selector are what RBAC grants by `resourceNames`.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from control.api.credential import Credential
from control.api.kinds.gateway import GatewaySpec
from control.api.world import CredentialKey, World
from control.kubernetes.reflector import Reflector, Surroundings
from control.kubernetes.resources import SECRETS
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.store")

TYPE = "kubernetes.io/tls"
MAX_CREDENTIALS = 256
"""Each is a watch of its own."""
MAX_PEM_CHARACTERS = 64 * 1024
"""A chain has some 6,000; a Secret may have a million."""


def named_by_gateways(world: World) -> frozenset[CredentialKey]:
    """By namespace of the gateways that need them, as Istio has it, and name."""
    edges = [workload for workload in world.workloads.values() if workload.kind == "gateway"]
    found = set()
    for resource in world.of_kind("Gateway") if edges else ():
        spec = resource.spec
        assert isinstance(spec, GatewaySpec)
        names = {each.tls.credential_name for each in spec.servers if each.tls is not None}
        for edge in edges if names - {None} else ():
            if spec.selector.items() <= edge.effective_labels.items():
                found |= {(edge.namespace, name) for name in names if name is not None}
    return frozenset(found)


def decode_credential(found: Mapping[str, Any]) -> Credential:
    """Raises ValueError, which repeats nothing of it, for one that cannot serve."""
    if found.get("type") != TYPE:
        raise ValueError(f"it is of type {str(found.get('type'))[:100]!r}; make one of type {TYPE}")
    data = found.get("data") or {}
    chain, key, authorities = (_text(data, name) for name in ("tls.crt", "tls.key", "ca.crt"))
    if not chain or not key:
        raise ValueError("tls.crt or tls.key is missing")
    if max(len(chain), len(key), len(authorities)) > MAX_PEM_CHARACTERS:
        raise ValueError(f"tls.crt, tls.key or ca.crt has more than {MAX_PEM_CHARACTERS:,} characters")
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        private = load_pem_private_key(key.encode(), None)
        if authorities:
            x509.load_pem_x509_certificates(authorities.encode())
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        shown, held = (each.public_key().public_bytes(*form) for each in (leaf, private))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("tls.crt, tls.key or ca.crt is not PEM that can be read, without a password") from None
    if shown != held:
        raise ValueError("tls.key is not the key of tls.crt")
    return Credential(chain, key, authorities, leaf.not_valid_after_utc.timestamp())


def _text(data: Mapping[str, Any], name: str) -> str:
    try:
        return base64.b64decode(data.get(name) or "", validate=True).decode("ascii")
    except ValueError:
        raise ValueError(f"{name} is not PEM that can be read") from None


class Credentials:
    """`want` says which; `take` gives what is there of them."""

    def __init__(self, around: Surroundings, changed: Callable[[], None]) -> None:
        """`changed` is called when `take` has something new."""
        self._around = around
        self._changed = changed
        self._scope: TaskScope | None = None
        self._followed: dict[CredentialKey, tuple[Reflector[Credential], asyncio.Task[Any]]] = {}
        self._said_too_many = False
        self.problems: dict[CredentialKey, str] = {}
        """What is wrong with those that cannot serve; of each the last good version goes on."""
        self.dirty = False
        """Whether `take` gives another than the last time."""

    def start(self, scope: TaskScope) -> None:
        self._scope = scope

    def want(self, wanted: frozenset[CredentialKey]) -> None:
        """Follow these and no others."""
        if self._scope is None or wanted == self._followed.keys():
            return
        if len(wanted) > MAX_CREDENTIALS and not self._said_too_many:
            self._said_too_many = True
            _log.error("Gateways name %d Secrets; %d are read", len(wanted), MAX_CREDENTIALS)
        few = sorted(wanted)[:MAX_CREDENTIALS]
        for key in [key for key in self._followed if key not in few]:
            reflector, task = self._followed.pop(key)
            task.cancel()
            self.problems.pop(key, None)
            self.dirty |= bool(reflector.items)
        for namespace, name in few:
            if (namespace, name) not in self._followed:
                reflector = Reflector(
                    self._around,
                    [SECRETS],
                    self._decode,
                    self._on_change,
                    namespace=namespace,
                    field_selector=f"metadata.name={name}",
                    required=False,
                )
                task = self._scope.spawn(reflector.run(), name=f"watch secret {namespace}/{name}")
                self._followed[namespace, name] = reflector, task
        if self.dirty:
            self._changed()

    async def synced(self) -> None:
        """Return once each is known, or known not to be readable."""
        for reflector, _ in list(self._followed.values()):
            await reflector.synced.wait()

    def take(self) -> Mapping[CredentialKey, Credential]:
        """Those that are there."""
        self.dirty = False
        return MappingProxyType({key: found for r, _ in self._followed.values() for key, found in r.items.items()})

    def _decode(self, found: Mapping[str, Any]) -> Credential:
        """Raises ValueError, and remembers why."""
        key = found["metadata"]["namespace"], found["metadata"]["name"]
        try:
            made = decode_credential(found)
        except ValueError as error:
            if self.problems.get(key) != str(error):
                self.problems[key] = str(error)
                _log.warning("Secret %s/%s cannot serve a gateway: %s; what was known goes on", *key, error)
                self._changed()
            raise
        if self.problems.pop(key, None) is not None:
            _log.info("Secret %s/%s serves its gateway again", *key)
            self._changed()
        return made

    def _on_change(self, name: CredentialKey, _before: Credential | None, after: Credential | None) -> None:
        if after is None:
            self.problems.pop(name, None)
        self.dirty = True
        self._changed()
