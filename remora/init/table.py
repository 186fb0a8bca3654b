"""Our share of a `nat` table: found in what iptables-save prints, and changed in one transaction of iptables-restore.

Pure text. Rules that are not ours are never named in what is made here, so they stay as and where they are.
"""

import re
from dataclasses import dataclass

from remora.init.plan import PREFIX, Table

_JUMP = re.compile(rf"(?:^| )(?:-j|-g|--jump|--goto) {PREFIX}")
_COUNTERS = re.compile(r"^\[[0-9]+:[0-9]+\] ")


@dataclass(frozen=True, slots=True)
class Present:
    """A `nat` table as it is."""

    ours: Table
    foreign_rules: int
    """Rules of others."""


def read(saved: str) -> Present:
    """What `iptables-save -t nat` printed. Of another table's lines nothing is taken."""
    table = ""
    chains: dict[str, list[str]] = {}
    jumps: list[tuple[str, str]] = []
    foreign = 0
    for line in saved.splitlines():
        line = _COUNTERS.sub("", line)
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "nat" and line.startswith(f":{PREFIX}"):
            chains.setdefault(line[1:].split(" ", 1)[0], [])
        elif table == "nat" and line.startswith("-A "):
            _, chain, rule = [*line.split(" ", 2), ""][:3]
            if chain.startswith(PREFIX):
                chains.setdefault(chain, []).append(rule)
            elif _JUMP.search(rule):
                jumps.append((chain, rule))
            else:
                foreign += 1
    ours = Table(tuple((name, tuple(rules)) for name, rules in chains.items()), tuple(jumps))
    return Present(ours, foreign)


def same(one: Table, other: Table) -> bool:
    """Whether both do the same: how chains are ordered in a listing does not count, how jumps are does."""
    return dict(one.chains) == dict(other.chains) and sorted(one.jumps) == sorted(other.jumps)


def transition(present: Table, wanted: Table) -> str:
    """Input for `iptables-restore --noflush` that makes `wanted` out of `present`; empty where nothing is to be done.

    The kernel takes the table as a whole: no packet sees a part of it.
    """
    if same(present, wanted):
        return ""
    # A jump that is right stays where it is, among the rules of others; a second one like it goes.
    kept: list[tuple[str, str]] = []
    removed: list[tuple[str, str]] = []
    for jump in present.jumps:
        (removed if jump in kept or jump not in wanted.jumps else kept).append(jump)
    obsolete = [name for name, _ in present.chains if name not in dict(wanted.chains)]
    lines = [
        "*nat",
        # Naming a chain makes it, or empties one that is there.
        *(f":{name} - [0:0]" for name in dict.fromkeys([*obsolete, *dict(wanted.chains)])),
        *(f"-D {chain} {rule}" for chain, rule in removed),
        *(f"-X {name}" for name in obsolete),
        *(f"-A {name} {rule}" for name, rules in wanted.chains for rule in rules),
        *(f"-A {chain} {rule}" for chain, rule in wanted.jumps if (chain, rule) not in kept),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"
