"""The collector as a child process, outside of any mesh, with a settings file."""

import re
from collections.abc import Sequence
from pathlib import Path

from tests.collectors.process import COLLECT, Child


class Standalone(Child):
    """Of nothing but its settings."""

    def __init__(
        self, directory: Path, settings: str, *flags: str, expect_ready: bool = True, within: Sequence[str] = ()
    ) -> None:
        """`within`: a program that starts it, such as unshare."""
        self.directory = directory
        self.config = directory / "collector.yaml"
        self.config.write_text(settings)
        state = ["--state", str(directory / "state"), "--config", str(self.config), "--health", "127.0.0.1:0"]
        super().__init__([*within, *COLLECT, *state, *flags], directory / "collect.log", expect_ready=expect_ready)

    def with_same_ports(self, settings: str) -> str:
        """The settings with the ports that port 0 became, for a successor."""
        found = iter([address for name, address in self.ready.items() if name != "health"])
        return re.sub(r"127\.0\.0\.1:0", lambda _: next(found), settings)
