"""Workloads that are gone without having said so: a `remora run` that was killed, samples of an earlier mesh."""

import contextlib
import socket
from collections.abc import Collection

from remora.client import Control
from remora.failure import Failure

TIMEOUT_S = 1.0


def forget_departed(control: Control, ours: Collection[tuple[str, str]]) -> list[str]:
    """Deregister every workload, save those in `ours` (namespace, name), that is not connected and whose port nobody
    holds; returns their names. A sidecar that is merely being restarted keeps its workload: its port is held."""
    gone: list[str] = []
    for proxy in control.status()["proxies"]:
        namespace, name = proxy["namespace"], proxy["workload"]
        if proxy["connected"] or (namespace, name) in ours or proxy["kind"] != "sidecar":
            continue
        with contextlib.suppress(Failure):  # it may have deregistered meanwhile
            spec = control.resource("Workload", namespace, name)["document"]["spec"]
            if not _is_held(spec.get("inbound") or spec.get("outbound")):
                control.deregister(namespace, name)
                gone.append(name)
    return gone


def _is_held(address: str | None) -> bool:
    if address is None:
        return False
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True
