"""A tailer driven by hand: what it would hand on, and crashes, without a clock that runs."""

from pathlib import Path

from collectors.receivers.tail.assembly import Assembly, AssemblyLimits
from collectors.receivers.tail.files import FileLimits, Files, Patterns
from collectors.receivers.tail.formats import parse_plain
from collectors.receivers.tail.positions import PositionFile
from collectors.receivers.tail.tailer import ReadLimits, Tailer

OPEN: list["Rig"] = []
"""To be closed after the test."""


class Rig:
    """`turn()` is one look at the files, `crash()` and `restart()` come between."""

    def __init__(
        self,
        directory: Path,
        *include: str,
        from_end: bool = False,
        files: FileLimits | None = None,
        limits: ReadLimits | None = None,
    ) -> None:
        self.directory = directory
        self.state = directory.parent / "state"
        self.state.mkdir(exist_ok=True)
        self._patterns = Patterns(tuple(str(directory / one) for one in include or ("*.log",)), from_end=from_end)
        self._file_limits = files or FileLimits()
        self._limits = limits or ReadLimits(rotate_wait_s=5.0)
        self.now = 1_000.0
        self.got: dict[str, str] = {}
        """Texts by id, in order."""
        self.doubles = 0
        OPEN.append(self)
        self.tailer = self._open()

    def _open(self) -> Tailer:
        files = Files(
            self._patterns,
            PositionFile(self.state / "positions.json"),
            lambda: Assembly(parse_plain, None, AssemblyLimits()),
            self._file_limits,
            "node",
        )
        files.open(self.now)
        return Tailer(files, self._limits)

    @property
    def files(self) -> Files:
        return self.tailer.files

    def turn(self, seconds: float = 1.0, *, save: bool = True) -> list[str]:
        """The texts of a turn, stored."""
        self.now += seconds
        self.files.scan(self.now)
        texts = []
        for _ in range(1_000):
            chunks = self.tailer.gather(self.now)
            if not chunks:
                break
            for chunk in chunks:
                for record in chunk.records:
                    id_ = f"{chunk.id}/{record.offset}-{record.end}"
                    self.doubles += id_ in self.got
                    self.got[id_] = record.text
                    texts.append(record.text)
            self.tailer.commit(chunks)
        if save:
            self.files.save()
        return texts

    def crash(self) -> None:
        """What was not saved is forgotten."""
        self.files.close()

    def restart(self) -> None:
        self.tailer = self._open()

    @property
    def texts(self) -> list[str]:
        return list(self.got.values())
