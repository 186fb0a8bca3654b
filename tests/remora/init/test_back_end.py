"""Which programs are chosen, and what their complaints become. The complaints are those of iptables 1.8.9."""

from pathlib import Path

import pytest

from remora.init.back_end import BackEnd, CaptureError, explain, installed


def programs(at: Path, *names: str, says: str = "iptables v1.8.9 (nf_tables)") -> str:
    for name in names:
        path = at / name
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
    return str(at)


PAIR = ("iptables-restore", "iptables-save")
BOTH = (*PAIR, "iptables-nft-restore", "iptables-nft-save", "iptables-legacy-restore", "iptables-legacy-save")


def test_of_both_kinds_the_machines_own_choice_comes_first(tmp_path: Path) -> None:
    path = programs(tmp_path, *BOTH, says="iptables v1.8.9 (legacy)")
    assert installed(path=path) == (BackEnd("legacy", "-legacy"), BackEnd("nft", "-nft"))
    path = programs(tmp_path, *BOTH)
    assert installed(path=path) == (BackEnd("nft", "-nft"), BackEnd("legacy", "-legacy"))


def test_programs_without_a_kind_in_their_names_are_taken_as_what_they_say(tmp_path: Path) -> None:
    assert installed(path=programs(tmp_path, *PAIR)) == (BackEnd("nft", ""),)
    assert installed(path=programs(tmp_path, *PAIR, says="iptables v1.6.1")) == (BackEnd("legacy", ""),)


def test_without_programs_it_says_how_to_install_them(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="apt-get install iptables"):
        installed(path=str(tmp_path))


@pytest.mark.parametrize(
    ("program", "said", "fix"),
    [
        (
            "iptables-nft-restore",
            "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied "
            "(you must be root)",
            "NET_ADMIN",
        ),
        (
            "iptables-legacy-save",
            "iptables-save v1.8.9 (legacy): Cannot initialize: Permission denied (you must be root)",
            "NET_ADMIN",
        ),
        (
            "ip6tables-legacy-restore",
            "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'\n\n"
            "Error occurred at line: 1\nTry `ip6tables-restore -h' for more information.",
            "modprobe ip6table_nat",
        ),
        (
            "iptables-legacy-restore",
            "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist "
            "(do you need to insmod?)",
            "modprobe iptable_nat",
        ),
        (
            "iptables-nft-restore",
            "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument",
            "modprobe nft_chain_nat",
        ),
        ("iptables-legacy-restore", "Another app is currently holding the xtables lock; still 4s", "--wait"),
        (
            "iptables-legacy-restore",
            "Fatal: can't open lock file /run/xtables.lock: Read-only file system",
            "XTABLES_LOCKFILE",
        ),
        (
            "iptables-nft-restore",
            "Warning: Extension owner revision 0 not supported, missing kernel module?\n"
            "iptables-nft-restore v1.8.9 (nf_tables): line 14: RULE_APPEND failed (No such file or directory): "
            "rule in chain X",
            "modprobe nft_chain_nat nft_compat xt_owner",
        ),
    ],
    ids=("capability", "capability (legacy)", "IPv6", "table", "nftables", "locked", "read-only", "owner"),
)
def test_a_complaint_is_followed_by_what_to_do(program: str, said: str, fix: str) -> None:
    lines = explain(program, 4, said)
    assert lines[0].startswith(f"{program} failed with status 4: ")
    assert "Try `" not in lines[0]
    assert "\n" not in lines[0]
    assert fix in lines[1]


def test_a_long_complaint_is_cut_and_an_unknown_one_is_passed_on() -> None:
    assert len(explain("iptables-restore", 1, "x" * 10_000)[0]) < 700
    assert explain("iptables-restore", 2, "") == ["iptables-restore failed with status 2: it said nothing"]
