"""The authority of a laptop's mesh: its roots and its record are files of the state directory."""

import asyncio
import logging
from pathlib import Path

from control.ca.audit import AuditLog
from control.ca.authority import Authority
from control.ca.root import RootFiles
from control.ca.rotate import Step, due, take
from control.ca.template import DEFAULT_LIFETIMES, Lifetimes
from mesh.clock import Clock

_log = logging.getLogger("control.ca")


class DiskAuthority(Authority):
    """Owns the directory. `open` before anything else."""

    def __init__(
        self, directory: Path, trust_domain: str, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
    ) -> None:
        super().__init__(trust_domain, clock, AuditLog(directory / "audit.jsonl"), lifetimes)
        self._files = RootFiles(directory)

    def open(self) -> None:
        """Read the roots, or make the first. Raises BrokenAuthority, OSError."""
        self.adopt(self._files.open(self._trust_domain, now=self._clock.now(), lifetimes=self._lifetimes))

    @property
    def root_file(self) -> Path:
        return self._files.certificates

    def rotate(self) -> Step:
        """Take the step of the root's rotation that is due, if any. Raises OSError."""
        now = self._clock.now()
        step = due(self.roots, now=now, lifetimes=self._lifetimes)
        if step is not Step.NOTHING:
            roots = take(step, self._files, self.roots, self._trust_domain, now=now, lifetimes=self._lifetimes)
            _log.warning("root rotation: %s", step.value)
            self.adopt(roots)
        return step

    async def keep(self, every_s: float = 600) -> None:
        """Look whether a step is due, for ever. A full disk delays a step, it does not end the control plane."""
        while True:
            try:
                self.rotate()
            except OSError as error:
                _log.error("root rotation failed, trying again in %.0f s: %s", every_s, error)
            await asyncio.sleep(every_s)
