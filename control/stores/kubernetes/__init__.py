"""The store of a cluster: rules, services and workloads as the API server has them, kept up by watches."""

from control.stores.kubernetes.store import KubernetesStore

__all__ = ["KubernetesStore"]
