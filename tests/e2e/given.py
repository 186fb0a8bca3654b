"""An API server that somebody else runs, by $KUBECONFIG. It is neither started nor stopped nor restarted."""

import os
from pathlib import Path


class Given:
    """What of `ApiServer` can be had of it."""

    def __init__(self) -> None:
        self.kubeconfig = Path(os.environ["KUBECONFIG"].partition(":")[0])

    def start(self) -> None:
        assert self.kubeconfig.is_file(), f"KUBECONFIG names {self.kubeconfig}, which is no file"

    def stop(self) -> None:
        """It goes on."""
