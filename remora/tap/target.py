"""Which sidecar a workload's name means, and where its admin endpoint is: the control plane knows."""

from remora.client import Control
from remora.failure import Failure


def admin_of(control: Control, workload: str, namespace: str | None) -> str:
    """Raises Failure for a workload that is not registered, or is in several namespaces."""
    known = control.resources("workload", namespace)
    found = [each for each in known if each["name"] == workload]
    if not found:
        names = ", ".join(sorted({str(each["name"]) for each in known})) or "none"
        raise Failure(f"no workload {workload} is registered; known: {names}")
    if len(found) > 1:
        places = ", ".join(sorted(str(each["namespace"]) for each in found))
        raise Failure(f"{workload} is in several namespaces ({places}): say which with -n")
    return str(found[0]["document"]["spec"].get("admin") or "")
