"""`remora up` from its lock to its end."""

import asyncio
import json
import signal
import sys

from mesh.clock import SystemClock, system_rng
from mesh.lifecycle import TaskScope
from mesh.state_directory import default_state
from remora import otlp_types
from remora.failure import Failure
from remora.output import print_error
from remora.state import State
from remora.up.child import EndedEarly
from remora.up.display import Progress, print_summary
from remora.up.lock import Lock
from remora.up.mesh import Mesh
from remora.up.options import Options


def run(options: Options, *, as_json: bool) -> None:
    """Bring the mesh up, keep it up, take it down. Raises Failure with the reason when it can not be brought up."""
    if otlp_types.stale():
        raise Failure(f"the OTLP types on disk are another package's old ones; repair: {otlp_types.REPAIR}")
    state = State(options.state.absolute())
    state.create()
    with Lock(state) as lock:
        state.claim_room()
        # What an `up` that was killed has left behind would lead others to ports that are no longer ours.
        for leftover in (state.mesh, state.control):
            leftover.unlink(missing_ok=True)
        try:
            asyncio.run(_supervise(options, state, lock.fd, as_json=as_json))
        except EndedEarly as failure:
            # On a full disk a child's last words are lost.
            raise Failure(*failure.lines, *filter(None, (state.shortage(),))) from failure
        except OSError as error:
            if error.filename is None:
                raise
            raise state.unusable(error) from error


async def _supervise(options: Options, state: State, lock_fd: int, *, as_json: bool) -> None:
    clock = SystemClock()
    told = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    progress = Progress(shown=not as_json)
    began = clock.monotonic()
    mesh = Mesh(options, state, clock=clock, rng=system_rng(), lock_fd=lock_fd, say=print_error, stage=progress.stage)

    async def live() -> None:
        with progress:
            await mesh.start()
        if as_json:
            sys.stdout.write(json.dumps(mesh.describe()) + "\n")
        else:
            is_default = state.directory == default_state().absolute()
            seconds = clock.monotonic() - began
            print_summary(mesh.describe(), seconds, samples=options.samples, state_is_default=is_default)
        sys.stdout.flush()
        await asyncio.sleep(float("inf") if options.seconds is None else options.seconds)

    try:
        async with TaskScope() as scope:
            tasks = (
                scope.spawn(live(), name="live"),
                scope.spawn(told.wait(), name="told to stop"),
                scope.spawn(mesh.wait_failed(), name="broken"),
            )
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        await mesh.stop()
