"""`remora proxy|init-iptables|wait|node-agent|control|collect|query|console|custom-metrics`: run one component.

Each parses its own flags; typer only lists them.
"""

import sys
from collections.abc import Callable, Sequence

from remora.failure import Failure
from remora.output import print_error

WRONG_USE = 2

SUMMARIES = {
    "proxy": "Run a sidecar or gateway: the entry point of its container.",
    "init-iptables": "Capture a pod's traffic for its sidecar: the entry point of its init container.",
    "wait": "Wait until the sidecar of this pod is ready: the postStart hook of its container.",
    "node-agent": "Capture the traffic of a node's pods for their sidecars: the entry point of its container.",
    "control": "Run the control plane: the entry point of its container.",
    "collect": "Run the collector of logs, traces and metrics: the entry point of its container.",
    "query": "Run the service with Jaeger's HTTP API: the entry point of its container.",
    "console": "Run the web console: the entry point of its container.",
    "custom-metrics": "Serve the mesh's metrics to autoscalers: the entry point of its container.",
}

EXTRAS = {
    "proxy": "sidecar",
    "init-iptables": "sidecar",
    "wait": "sidecar",
    "node-agent": "control",
    "control": "control",
    "collect": "collectors",
    "query": "collectors",
    "console": "console",
    "custom-metrics": "custom-metrics",
}
"""What a component's install is called."""


def run(name: str, argv: Sequence[str]) -> int:
    """Run component `name` with its own flags; returns its exit status. Raises Failure if its packages are missing."""
    if name in ("proxy", "collect"):
        from remora import otlp_types

        if otlp_types.stale():
            raise Failure(f"the OTLP types on disk are another package's old ones; repair: {otlp_types.REPAIR}")
    try:
        main = _COMPONENTS[name]
        return main(argv)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("mesh", "sidecar", "control", "collectors", "dashboards", "remora"):
            raise
        raise Failure(f"{error.name} is not installed: pip install 'remora[{EXTRAS[name]}]'") from error


def _proxy(argv: Sequence[str]) -> int:
    import os

    from sidecar.agent import main
    from sidecar.agent.pod_environment import WrongPod, bootstrap_of

    try:
        bootstrap = bootstrap_of(argv, os.environ)
    except WrongPod as error:
        for line in error.lines:
            print_error(f"remora proxy: {line}")
        return WRONG_USE
    return main(bootstrap)


def _wait(argv: Sequence[str]) -> int:
    from remora.commands import wait

    return wait.run(argv)


def _init_iptables(argv: Sequence[str]) -> int:
    from remora.commands import init_iptables

    return init_iptables.run(argv)


def _node_agent(argv: Sequence[str]) -> int:
    from remora.node.app import main

    return main(argv)


def _control(argv: Sequence[str]) -> int:
    from control.app import parse, run

    return run(parse(argv))


def _collect(argv: Sequence[str]) -> int:
    from collectors.app import parse, run

    return run(parse(argv))


def _query(argv: Sequence[str]) -> int:
    from collectors.query.app import parse, run

    return run(parse(argv))


def _console(argv: Sequence[str]) -> int:
    from dashboards.console.app import parse, run

    return run(parse(argv))


def _custom_metrics(argv: Sequence[str]) -> int:
    from remora.custom_metrics.app import main

    return main(argv)


_COMPONENTS: dict[str, Callable[[Sequence[str]], int]] = {
    "proxy": _proxy,
    "init-iptables": _init_iptables,
    "wait": _wait,
    "node-agent": _node_agent,
    "control": _control,
    "collect": _collect,
    "query": _query,
    "console": _console,
    "custom-metrics": _custom_metrics,
}


def listed(name: str) -> Callable[[], None]:
    """What `remora --help` lists; cli.main runs the component before it comes to this."""

    def component() -> None:
        sys.exit(run(name, []))

    component.__doc__ = SUMMARIES[name]
    return component
