"""`remora init-iptables`, also `remora-init`: capture a pod's traffic for its sidecar, as its init container does."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from mesh.clock import SystemClock
from remora.failure import Failure
from remora.init import render
from remora.init.apply import application
from remora.init.back_end import CaptureError
from remora.init.options import Options, parse
from remora.init.place import is_the_machines_own
from remora.init.plan import Capture, plan
from remora.init.probe import probe
from remora.init.validation import Validation
from remora.output import Format, print_data, print_error, print_line


def run(argv: Sequence[str]) -> int:
    """Returns the exit status. Raises Failure where rules could not be had as asked for."""
    options = parse(argv)
    for warning in options.warnings:
        print_error(f"remora init-iptables: {warning}")
    if options.dry_run:
        _print(options)
        return 0
    if options.validate_s is not None:
        _validate(options.capture, options.validate_s)
        return 0
    if not (options.remove or options.this_machine) and is_the_machines_own():
        raise Failure(
            "remora init-iptables: this is the machine's own network, not a pod's: all of its connections would go to "
            "a sidecar that is not there; run it in the pod (ip netns exec, nsenter --net), or say --this-machine"
        )
    try:
        here = application(options.back_end, options.wait_s, print_line)
        if options.remove:
            here.remove()
            return 0
        here.install(plan(options.capture))
        if options.probe:
            probe(options.capture, print_line)
    except CaptureError as error:
        raise Failure(*(f"remora init-iptables: {line}" for line in error.lines)) from error
    return 0


def main() -> None:
    """The script `remora-init`."""
    from remora.cli import main as command

    command(["init-iptables", *sys.argv[1:]])


def _validate(capture: Capture, within_s: int) -> None:
    node = os.environ.get("NODE_NAME", "")
    # The first process of a container is spared by signals that it does not ask for: a pod that is deleted while it
    # waits here would be there for its whole grace period.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        Validation(capture, within_s, SystemClock(), _say_at_once, node).run()
    except CaptureError as error:
        raise Failure(*(f"remora init-iptables: {line}" for line in error.lines)) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _say_at_once(line: str) -> None:
    """Whoever looks why a pod does not start sees it while it waits."""
    print_line(line)
    sys.stdout.flush()


def _print(options: Options) -> None:
    rules = plan(options.capture)
    if options.json:
        print_data(render.data(rules), Format.JSON)
        return
    for line in render.text(rules):
        print_line(line)
