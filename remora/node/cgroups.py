"""Which pod a process belongs to, by the path of its control group. Pure: text in, a pod's UID out.

The kubelet names a pod's group after its UID, in two spellings: `pod1234-...` by the cgroupfs driver,
`kubepods-burstable-pod1234_....slice` by systemd's, whose names cannot have dashes of their own. Version 1 of control
groups has a line for each controller, version 2 one alone; where both are mounted, both kinds are there.
https://kubernetes.io/docs/concepts/architecture/cgroups/
"""

import re

_POD = re.compile(r"[/-]pod([0-9a-f]{8}(?:([-_])[0-9a-f]{4})(?:\2[0-9a-f]{4}){2}\2[0-9a-f]{12})(?=[/.:]|\Z)")


def pod_uid(text: str) -> str | None:
    """Of what /proc/PID/cgroup has. None: of no pod, or of two, which no kubelet does."""
    found = set()
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        # The outermost: groups below it are the pod's own to name, if it is let.
        if (match := _POD.search(path)) is not None:
            found.add(match[1].replace("_", "-"))
    return found.pop() if len(found) == 1 else None
