"""Server-side apply: say what a few fields of an object are to be, and leave all others to those who own them.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from control.kubernetes.client import APPLY_PATCH, Json, KubeClient
from control.kubernetes.resources import ApiResource

CONTROL_MANAGER = "remora"
"""What the control plane writes by itself: status, root certificates."""
COMMAND_MANAGER = "remora-cli"
"""What people write through `remora apply` and the console."""


async def apply(
    client: KubeClient,
    resource: ApiResource,
    document: Json,
    *,
    manager: str = CONTROL_MANAGER,
    subresource: str = "",
    dry_run: bool = False,
    force: bool = True,
) -> Json:
    """The object afterwards. `document` names itself: apiVersion, kind, metadata.name and namespace.

    With `force` fields of others that are named become ours; without, that is an ApiError with `conflict`.
    Raises ApiError.
    """
    metadata = document["metadata"]
    params = {"fieldManager": manager, "force": "true" if force else "false"}
    if dry_run:
        params["dryRun"] = "All"
    return await client.patch(
        resource,
        str(metadata["name"]),
        document,
        str(metadata.get("namespace", "")),
        content_type=APPLY_PATCH,
        subresource=subresource,
        params=params,
    )
