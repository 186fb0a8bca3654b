"""The flags of `remora init-iptables`."""

import json
import shlex

import pytest

from remora import cli
from remora.init.options import parse
from remora.init.plan import Capture
from remora.init.scalars import EVERYWHERE, NOWHERE, Ports, Ranges, parse_interfaces, parse_ports, parse_ranges
from sidecar.agent.pod_environment import DNS_PORT


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        parse(argv)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_without_flags_everything_is_captured() -> None:
    assert parse([]).capture == Capture()


def test_lists_become_ports_and_ranges() -> None:
    capture = parse(
        shlex.split(
            "--include-inbound-ports 80,443 --exclude-inbound-ports 9000-9002,9003 --include-outbound-ports 8443 "
            "--exclude-outbound-ports 3306:3307 --include-outbound-ip-ranges 10.0.0.0/8,fd00::/8 "
            "--exclude-outbound-ip-ranges 10.1.2.3,10.2.0.1/16 --exclude-interfaces net1,net2@if5 --dns-port 15053 "
            "--proxy-uid 1400 --proxy-gid 1401 --inbound-port 16006 --outbound-port 16001"
        )
    ).capture
    assert capture == Capture(
        inbound_ports=(Ports(80, 80), Ports(443, 443)),
        exclude_inbound_ports=(Ports(9000, 9003),),
        outbound_ports=(Ports(8443, 8443),),
        exclude_outbound_ports=(Ports(3306, 3307),),
        outbound_ranges=Ranges(networks=parse_ranges("10.0.0.0/8,fd00::/8")),
        exclude_outbound_ranges=Ranges(networks=parse_ranges("10.1.2.3/32,10.2.0.0/16")),
        exclude_interfaces=("net1", "net2"),
        dns_to=15_053,
        uid=1400,
        gid=1401,
        inbound_to=16_006,
        outbound_to=16_001,
    )


def test_empty_lists_capture_nothing_of_that_kind() -> None:
    capture = parse(["--include-inbound-ports", "", "--include-outbound-ip-ranges", ""]).capture
    assert capture.inbound_ports == ()
    assert capture.outbound_ranges == NOWHERE
    assert parse(["--include-outbound-ip-ranges", "*"]).capture.outbound_ranges == EVERYWHERE


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--exclude-inbound-ports", "0", "'0' is no port; ports are 1 to 65535"),
        ("--exclude-inbound-ports", "65536", "'65536' is no port"),
        ("--exclude-inbound-ports", "-1", "'-1' is no port"),
        ("--exclude-inbound-ports", "80;reboot", "'80;reboot' is no port"),
        ("--exclude-inbound-ports", "80 -j ACCEPT", "'80 -j ACCEPT' is no port"),
        ("--exclude-inbound-ports", "80\n-A X", "is no port"),
        ("--exclude-inbound-ports", "٨٠", "is no port"),
        ("--exclude-inbound-ports", "80,,443", "has an empty entry"),
        ("--exclude-inbound-ports", "443-80", "write 80-443"),
        ("--exclude-inbound-ports", "*", "'*' is no port"),
        ("--exclude-inbound-ports", ",".join(map(str, range(1, 300))), "has 299 entries; 256 is the most"),
        ("--include-inbound-ports", "http", "'http' is no port"),
        ("--include-outbound-ip-ranges", "10.0.0.0/33", "write e.g. 10.0.0.0/8"),
        ("--include-outbound-ip-ranges", "10.0.0", "is no range of addresses"),
        ("--include-outbound-ip-ranges", "example.com", "is no range of addresses"),
        ("--include-outbound-ip-ranges", "fe80::1%eth0", "is no range of addresses"),
        ("--include-outbound-ip-ranges", "*,10.0.0.0/8", "'*' stands for every address, alone"),
        ("--include-outbound-ip-ranges", "127.0.0.0/8", "loopback addresses is never captured"),
        ("--include-outbound-ip-ranges", "::1", "loopback addresses is never captured"),
        ("--exclude-outbound-ip-ranges", "*", "'*' stands for every address, alone"),
        ("--exclude-outbound-ip-ranges", "::ffff:10.0.0.0/104", "write it as IPv4"),
        ("--exclude-interfaces", "lo", "cannot be excluded"),
        ("--exclude-interfaces", "eth0 -j ACCEPT", "is no interface's name"),
        ("--exclude-interfaces", "eth+", "is no interface's name"),
        ("--proxy-uid", "0", "not root's"),
        ("--proxy-uid", "nobody", "is no number of a user"),
        ("--inbound-port", "80-81", "is a range; write one port"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("--") else repr(value)[:24],
)
def test_a_wrong_value_is_refused_with_the_flag_and_the_right_form(
    flag: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, f"{flag}={value}")
    assert flag in line
    assert said in line
    assert line.startswith("remora init-iptables: ")


def test_all_that_is_wrong_is_said_at_once_and_with_the_annotation(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(
        capsys,
        "--exclude-inbound-ports=x",
        "--exclude-outbound-ports=y",
        "--annotated=exclude-outbound-ports",
    ).splitlines()
    assert said == [
        "remora init-iptables: --exclude-inbound-ports: 'x' is no port; write 1 to 65535, or a range such as 8000-8010",
        "remora init-iptables: --exclude-outbound-ports (annotation traffic.sidecar.istio.io/excludeOutboundPorts): "
        "'y' is no port; write 1 to 65535, or a range such as 8000-8010",
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--annotated nothing", "'nothing' is none of include-inbound-ports"),
        ("--inbound-port 15001", "must differ"),
        ("--dns-port 15006", "must differ"),
        ("--dns-port 53", "53 is what is captured"),
        ("--outbound-port 15020", "is the sidecar's for something else"),
        ("--capture-dns --outbound-port=15053", "must differ"),
        ("--remove --probe", "exclude each other"),
        ("--validate 10 --dry-run", "exclude each other"),
        ("--validate 0", "is not a whole number from 1 to 3600"),
        ("-o json", "add --dry-run"),
        ("--wait 0", "is not a whole number from 1 to 60"),
        ("--back-end bpf", "invalid choice"),
        ("--nonsense", "unrecognized"),
    ],
)
def test_flags_that_make_no_sense_are_refused(argv: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, *argv.split())


def test_a_port_of_the_sidecars_own_in_a_list_is_warned_of() -> None:
    (warning,) = parse(["--include-inbound-ports", "80,15020,15090"]).warnings
    assert "15020, 15090" in warning
    assert parse([]).warnings == ()


def test_ports_that_touch_become_one_range() -> None:
    assert parse_ports("82,80,81, 90-95,93-99") == (Ports(80, 82), Ports(90, 99))
    assert [str(each) for each in parse_ports("80-82,90")] == ["80:82", "90"]


def test_interfaces_are_named_once() -> None:
    assert parse_interfaces("net1, net1@if3") == ("net1",)


def test_a_dry_run_prints_the_plan_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init-iptables", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text.count("*nat") == 2
    assert "-A REMORA_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006" in text
    assert cli.run(["init-iptables", "--dry-run", "-o", "json", "--exclude-inbound-ports", "9000"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["ipv4"]["jumps"] == [
        {"chain": "PREROUTING", "rule": "-p tcp -j REMORA_INBOUND"},
        {"chain": "OUTPUT", "rule": "-p tcp -j REMORA_OUTPUT"},
    ]
    assert "-p tcp -m tcp --dport 9000 -j RETURN" in plan["ipv6"]["chains"]["REMORA_INBOUND"]
    assert plan["ipv6"]["addresses"] == [{"interface": "lo", "address": "::6/128"}]


def test_capturing_dns_is_having_the_sidecar_asked_at_its_port() -> None:
    assert parse(["--capture-dns"]).capture == parse(["--dns-port=15053"]).capture == Capture(dns_to=DNS_PORT)
    assert parse([]).capture.dns_to is None
