"""Names of the mesh: which addresses a question's name has. Pure.

Which forms of a name are known follows Istio's DNS proxy: the full one, and those that the pod's search path makes a
full one of. https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LAYER = "remora.names"
"""Name of the control plane's runtime layer (control.generate.name_table)."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Names:
    """All that are known, each in lower case without a dot at its end."""

    hosts: Mapping[str, tuple[Address, ...]]
    """`*.example.com` stands for whatever ends with that."""
    search: tuple[str, ...] = ()
    """The search path of the pod's resolver."""

    def addresses(self, name: str) -> tuple[Address, ...] | None:
        """Of both kinds; None: the name is none of the mesh's."""
        name = name.rstrip(".").lower()
        for form in self._forms(name):
            found = self.hosts.get(form)
            if found is not None:
                return found
        return self._wildcard(name)

    def _forms(self, name: str) -> list[str]:
        forms = [name]
        for domain in self.search:
            forms.append(f"{name}.{domain}")
            # A resolver tries its search path first: without an answer here every name of the outside that the mesh
            # knows would cost as many questions to the cluster's servers as the path is long.
            if name.endswith(f".{domain}"):
                forms.append(name[: -len(domain) - 1])
        return forms

    def _wildcard(self, name: str) -> tuple[Address, ...] | None:
        _, dot, parent = name.partition(".")
        while dot:
            found = self.hosts.get(f"*.{parent}")
            if found is not None:
                return found
            _, dot, parent = parent.partition(".")
        return None


def search_path(node_domain: str, configured: Sequence[str]) -> tuple[str, ...]:
    """What `resolv.conf` says, after what the kubelet writes there for a pod of the namespace, whose domain is
    `NAMESPACE.svc.DOMAIN`: a pod with servers of its own is of the mesh all the same."""
    own: list[str] = []
    namespace, _, service_domain = node_domain.partition(".")
    if namespace and service_domain.startswith("svc."):
        own = [node_domain, service_domain, service_domain.removeprefix("svc.")]
    domains = (each.rstrip(".").lower() for each in (*own, *configured))
    return tuple(dict.fromkeys(each for each in domains if each))
