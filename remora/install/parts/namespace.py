"""The namespace that the mesh's own objects live in."""

from remora.install.expressions import All, Node, Ref, When
from remora.install.names import FIRST, SYSTEM_NAMESPACE


def objects() -> list[Node]:
    """Its pods all satisfy the strictest of the Pod Security Standards, and it enforces that."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return [
        When(
            All(FIRST, Ref("createNamespace")),
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": SYSTEM_NAMESPACE,
                    "labels": {
                        "app.kubernetes.io/name": SYSTEM_NAMESPACE,
                        "app.kubernetes.io/part-of": "remora",
                        **levels,
                    },
                },
            },
        )
    ]
