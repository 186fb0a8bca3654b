"""Names of services as rules write them, and their full form."""

from collections.abc import Container

SUFFIX = "svc.cluster.local"
"""The cluster's domain, as in Kubernetes; not the trust domain."""


def full_name(host: str, namespace: str, known: Container[str]) -> str:
    """The host that a rule of `namespace` means.

    As in Istio a name without a dot is a service of the rule's own namespace. `name.namespace` and
    `name.namespace.svc` are taken as well where `known` has such a service; any other name stands for itself, as do
    wildcards.
    """
    if host.startswith("*") or host.endswith(f".{SUFFIX}"):
        return host
    dots = host.count(".")
    if dots == 0:
        expanded = f"{host}.{namespace}.{SUFFIX}"
        return host if host in known and expanded not in known else expanded
    if host in known:
        return host
    if dots == 1 and f"{host}.{SUFFIX}" in known:
        return f"{host}.{SUFFIX}"
    if dots == 2 and host.endswith(".svc") and f"{host}.cluster.local" in known:
        return f"{host}.cluster.local"
    return host


def owner(host: str) -> str:
    """The namespace whose service the host is; empty for any other name, which is nobody's, and for wildcards."""
    name, _, namespace = host.removesuffix(f".{SUFFIX}").partition(".")
    return namespace if host.endswith(f".{SUFFIX}") and not name.startswith("*") and "." not in namespace else ""


def matches(pattern: str, host: str) -> bool:
    """Whether `host`, itself perhaps a wildcard, lies within `pattern`: a name, `*.suffix` or `*`."""
    if pattern == "*" or pattern == host:
        return True
    return pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])
