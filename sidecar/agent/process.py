"""The agent's process: from flags to exit status."""

import gc
import logging
import os
import random
import sys

import uvloop

from mesh import logs
from mesh.clock import SystemClock, system_rng
from sidecar.agent.certificates import UnusableCertificate
from sidecar.agent.endpoints import Endpoints
from sidecar.agent.root_file import RootFile
from sidecar.agent.sockets import CannotListen
from sidecar.bootstrap import Bootstrap


def main(bootstrap: Bootstrap) -> int:
    """Run until stopped. 0: stopped as asked; 1: could not start or went wrong, said in one line on standard error."""
    logs.setup(bootstrap.log_level, as_json=bootstrap.log_json)
    try:
        roots = RootFile(bootstrap.root)
        roots_pem = roots.read()
        endpoints = Endpoints(bootstrap)
    except (OSError, UnusableCertificate, CannotListen) as error:
        print(f"remora proxy: {error}", file=sys.stderr)
        return 1
    try:
        return uvloop.run(_run(bootstrap, roots_pem, roots, endpoints, system_rng()))
    except Exception as error:
        # The workers end with their channels; whoever started us starts us again.
        logging.getLogger("remora.agent").exception("the agent failed")
        print(f"remora proxy: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


async def _run(bootstrap: Bootstrap, roots_pem: str, roots: RootFile, endpoints: Endpoints, rng: random.Random) -> int:
    # Workers are started by fork and exec at once, so gRPC need not make itself usable in between, nor complain that it
    # cannot. It reads this when imported.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from sidecar.agent.agent import Agent

    # The libraries' types and descriptors stay for ever: walking them at each collection was a quarter of our CPU.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return await Agent(bootstrap, roots_pem, roots, endpoints, SystemClock(), rng).run()
