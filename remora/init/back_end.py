"""The programs of iptables: which pairs are there, what they print, and what their complaints mean."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["nft", "legacy"]
KINDS: tuple[Kind, Kind] = ("nft", "legacy")

SPARE_S = 10.0
"""What a program may take beside the time that it waits for the lock."""

INSTALL = "apt-get install iptables (or: apk add iptables)"


class CaptureError(Exception):
    """Rules could not be read or put. Each line is for the operator and ends with what to do."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class BackEnd:
    """One way to the kernel's tables."""

    kind: Kind
    suffix: str
    """Of the programs' names: "-nft", "-legacy" or "" where there is one kind only."""
    wait_s: int = 5

    def __str__(self) -> str:
        return f"iptables{self.suffix} ({self.kind})"

    def save(self, version: int) -> str:
        """The `nat` table of IP `version`; empty where there is none yet. Raises CaptureError."""
        if self.kind == "legacy" and not _legacy_table_exists(version):
            # Asking would make it, and with it a second set of hooks beside the newer kind's.
            return ""
        return self._run(f"{_family(version)}{self.suffix}-save", "-t", "nat")

    def restore(self, version: int, text: str) -> None:
        """Apply `text`, all of it or nothing. Raises CaptureError."""
        # The older kind has a lock that others (kubelet, CNI plugins) take; the newer one has transactions.
        wait = ("--wait", str(self.wait_s))
        self._run(f"{_family(version)}{self.suffix}-restore", "--noflush", *wait, stdin=text)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        try:
            result = subprocess.run(  # noqa: S603 - names and arguments are our own
                [program, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=self.wait_s + SPARE_S,
                check=False,
                env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise CaptureError(f"{program} is not installed: {INSTALL}") from None
        except subprocess.TimeoutExpired:
            raise CaptureError(f"{program} did not end within {self.wait_s + SPARE_S:g} s; run it again") from None
        if result.returncode != 0:
            raise CaptureError(*explain(program, result.returncode, result.stderr))
        return result.stdout


SEARCH_PATH = os.pathsep.join(filter(None, (os.environ.get("PATH"), "/usr/sbin", "/sbin")))
"""Users other than root often lack the directories where iptables is."""


def _legacy_table_exists(version: int) -> bool:
    names = Path("/proc/net/ip_tables_names" if version == 4 else "/proc/net/ip6_tables_names")
    try:
        return "nat" in names.read_text("ascii").split()
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _family(version: int) -> str:
    return "iptables" if version == 4 else "ip6tables"


_FIXES = (
    (
        ("permission denied", "operation not permitted", "must be root"),
        "capability NET_ADMIN is missing: run as root with securityContext.capabilities.add: [NET_ADMIN, NET_RAW]",
    ),
    (
        ("xtables lock", "lock file"),
        "the lock /run/xtables.lock cannot be had: make /run writable, set XTABLES_LOCKFILE, or --wait longer",
    ),
    (
        ("extension", "no such file or directory", "couldn't load", "no chain/target/match"),
        "an extension of iptables is missing (owner, tcp, REDIRECT): on the node, modprobe {modules}",
    ),
    (
        ("table does not exist", "insmod", "nitialize", "not supported", "invalid argument"),
        "the kernel lacks the table: on the node, modprobe {modules}",
    ),
)
"""What its words are signs of, and what helps; the first that fits counts."""


def explain(program: str, status: int, stderr: str) -> list[str]:
    """What a program said in one line, and what is missing in another, where it can be told."""
    said = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Try `")]
    text = " ".join(said)[:600]
    lines = [f"{program} failed with status {status}: {text or 'it said nothing'}"]
    low = text.lower()
    for signs, fix in _FIXES:
        if any(sign in low for sign in signs):
            lines.append(fix.format(modules=_modules(program)))
            break
    return lines


def _modules(program: str) -> str:
    if "nft" in program:
        return "nft_chain_nat nft_compat xt_owner xt_REDIRECT"
    six = "ip6table_nat" if program.startswith("ip6") else "iptable_nat"
    return f"{six} xt_owner xt_REDIRECT"


def installed(wait_s: int = 5, path: str = SEARCH_PATH) -> tuple[BackEnd, ...]:
    """What is there, the machine's own choice first. Raises CaptureError where there is none."""
    default = _kind_of("iptables-restore", path)
    found: list[BackEnd] = []
    for kind in sorted(KINDS, key=lambda kind: kind != default):
        if shutil.which(f"iptables-{kind}-restore", path=path) and shutil.which(f"iptables-{kind}-save", path=path):
            found.append(BackEnd(kind, f"-{kind}", wait_s))
        elif kind == default:
            found.append(BackEnd(kind, "", wait_s))
    if not found:
        raise CaptureError(f"neither iptables-restore nor iptables-nft-restore is installed: {INSTALL}")
    return tuple(found)


def _kind_of(program: str, path: str) -> Kind | None:
    """Of the program without a suffix; None where there is none."""
    where = shutil.which(program, path=path)
    if where is None:
        return None
    argv: Sequence[str] = [where, "--version"]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=SPARE_S, check=False)  # noqa: S603
    # "iptables v1.8.9 (nf_tables)"; before 1.8 there was one kind and no word of it.
    return "nft" if "nf_tables" in answer.stdout else "legacy"
