"""The plan as `--dry-run` prints it: input of iptables-restore for people, JSON for programs."""

from typing import Any

from remora.init.plan import FORWARDED_FROM, Rules, Table
from remora.init.table import transition


def text(rules: Rules) -> list[str]:
    """Lines. What is there already makes what is run shorter; it is not looked at here."""
    return [
        "# iptables-restore --noflush",
        *transition(Table(), rules.ipv4).splitlines(),
        "# ip6tables-restore --noflush",
        *transition(Table(), rules.ipv6).splitlines(),
        f"# ip -6 address add {FORWARDED_FROM[6]} dev lo",
    ]


def data(rules: Rules) -> dict[str, Any]:
    """Plain values."""
    return {
        "ipv4": _table(rules.ipv4),
        "ipv6": {**_table(rules.ipv6), "addresses": [{"interface": "lo", "address": FORWARDED_FROM[6]}]},
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "table": "nat",
        "chains": {name: list(rules) for name, rules in table.chains},
        "jumps": [{"chain": chain, "rule": rule} for chain, rule in table.jumps],
    }
