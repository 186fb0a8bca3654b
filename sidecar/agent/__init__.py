"""The sidecar's parent process: control plane, identity, telemetry out, admin endpoints, the workers' supervisor."""

from sidecar.agent.process import main

__all__ = ["main"]
