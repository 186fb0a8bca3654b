"""A process of the user's as a workload: its sidecar beside it while it runs, and nothing of either after it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.client import Control
from remora.failure import Failure
from remora.output import print_error
from remora.state import State
from remora.up import tether
from remora.up.applications import proxied
from remora.up.child import Child, Hooks
from remora.up.processes import exited
from remora.up.sidecar import Sidecar, Telemetry, Workload, remove_token

READY_S = 15.0
"""For the sidecar to serve."""
STOP_S = 4.0

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Guest:
    """What to run as what."""

    workload: Workload
    command: tuple[str, ...]
    https_proxy: bool = False
    """Its sidecar is its way to https:// too."""


def host(state: State, guest: Guest) -> int:
    """Run the guest; returns its exit status, 128 + N if signal N ended it. Raises Failure if its sidecar fails."""
    with Control(state) as control:
        _refuse_twins(control, guest.workload)
        telemetry = _telemetry(state)
        return asyncio.run(_host(state, control, telemetry, guest))


def _refuse_twins(control: Control, workload: Workload) -> None:
    """Registering a name again replaces the workload that has it: never one that is alive."""
    for proxy in control.status()["proxies"]:
        if (proxy["namespace"], proxy["workload"]) == (workload.namespace, workload.name) and proxy["connected"]:
            raise Failure(f"workload {workload.name} is running in {workload.namespace}: give this one another --name")


def _telemetry(state: State) -> Telemetry | None:
    """Where the running mesh collects; None if it is not `remora up` that runs it."""
    try:
        mesh: Mapping[str, Any] = json.loads(state.mesh.read_bytes())
        return Telemetry(forward=mesh["collector"]["forward"], otlp=mesh["collector"]["otlp"])
    except (OSError, ValueError, LookupError, TypeError):
        print_error(f"remora run: {state.mesh} names no collector: metrics only, no logs and traces of this workload")
        return None


async def _host(state: State, control: Control, telemetry: Telemetry | None, guest: Guest) -> int:
    workload = guest.workload
    clock = SystemClock()
    lifeline_read, lifeline_write = os.pipe()
    try:
        sidecar = Sidecar(workload)
    except OSError as error:
        asked = ", ".join(str(each.local_port) for each in workload.tcp_upstreams)
        which = f" (among them {asked} for --tcp-upstream)" if asked else ""
        raise Failure(f"the sidecar's ports{which} can not be had: {error.strerror}") from None
    name = f"{workload.namespace}.{workload.name}.sidecar"
    child = Child(
        name,
        partial(sidecar.prepare, state, control, telemetry),
        log=state.logs / f"{name}.log",
        lifeline=lifeline_read,
        clock=clock,
        hooks=Hooks(ended=lambda _, why: print_error(f"remora run: the sidecar {why}: starting it again")),
    )
    async with TaskScope() as scope:
        scope.spawn(child.run(), name=name)
        try:
            async with asyncio.timeout(READY_S):
                await child.first_ready
            return await _run(guest.command, proxied(os.environ, sidecar.outbound, https=guest.https_proxy))
        except TimeoutError:
            raise Failure(f"the sidecar of {workload.name} was not ready within {READY_S:.0f} s") from None
        finally:
            child.begin_stop()
            await child.wait_stopped(clock.monotonic() + STOP_S)
            await _deregister(control, workload)
            remove_token(state, f"{workload.namespace}.{workload.name}")
            sidecar.close()
            os.close(lifeline_write)
            os.close(lifeline_read)


async def _deregister(control: Control, workload: Workload) -> None:
    try:
        await asyncio.to_thread(control.deregister, workload.namespace, workload.name)
    except Failure as failure:
        print_error(f"remora run: {workload.name} stays registered: {failure}")


async def _run(command: tuple[str, ...], env: Mapping[str, str]) -> int:
    argv = [sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid()), *command]
    process = subprocess.Popen(argv, env=dict(env))  # noqa: S603, ASYNC220 - the user's own command; forking is quick
    for each in _PASSED_ON:
        asyncio.get_running_loop().add_signal_handler(each, _pass_on, process, each)
    try:
        await exited(process.pid)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    status = process.returncode
    return 128 - status if status < 0 else status


def _pass_on(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    # Ctrl-C on a terminal reaches the whole foreground group, the command too: it would get it twice.
    if number is signal.SIGINT and sys.stdin.isatty():
        return
    process.send_signal(number)
