"""A /proc of files, in which files stand for network namespaces: the kernel tells them apart as it does those."""

import shutil
from pathlib import Path


class FakeProc:
    """`at` is the directory."""

    def __init__(self, at: Path) -> None:
        self.at = at / "proc"
        self._networks = at / "networks"
        self._networks.mkdir()
        self.process(1, "0::/init.scope\n", "node")

    def network(self, name: str) -> Path:
        path = self._networks / name
        path.touch()
        return path

    def process(self, pid: int, cgroup: str, network: str, started: int = 100, name: str = "app (x) y") -> None:
        at = self.at / str(pid)
        (at / "ns").mkdir(parents=True)
        (at / "cgroup").write_text(cgroup)
        fields = " ".join(["S", "0", *["0"] * 17, str(started), "0"])
        (at / "stat").write_text(f"{pid} ({name}) {fields}\n")
        (at / "ns" / "net").symlink_to(self.network(network))

    def of_pod(self, pid: int, uid: str, network: str, started: int = 100) -> None:
        self.process(pid, f"0::/kubepods/pod{uid}/{'a' * 64}\n", network, started)

    def end(self, pid: int) -> None:
        shutil.rmtree(self.at / str(pid))
