"""What the injector writes is what `remora init-iptables` reads."""

import pytest

from control.injector.traffic import FIELDS
from remora.init.options import ANNOTATIONS, parse

PREFIX = "traffic.sidecar.istio.io/"


def test_every_annotation_has_its_flag() -> None:
    assert {field.flag: PREFIX + field.annotation for field in FIELDS.values()} == ANNOTATIONS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("include_inbound_ports", "*"),
        ("include_inbound_ports", ""),
        ("exclude_inbound_ports", "9000, 8000-8010"),
        ("include_outbound_ip_ranges", "*"),
        ("include_outbound_ip_ranges", "10.0.0.0/8, fd00::/8, 192.0.2.1, 0.0.0.0/0"),
        ("exclude_outbound_ip_ranges", "::/0"),
        ("include_outbound_ports", "*"),
        ("exclude_outbound_ports", "1-65535"),
        ("exclude_interfaces", "net1, eth0.100"),
    ],
)
def test_what_the_injector_passes_on_is_taken(name: str, text: str) -> None:
    field = FIELDS[name]
    assert parse([f"--{field.flag}={field.read(text)}", f"--annotated={field.flag}"]).warnings == ()


@pytest.mark.parametrize(
    "item",
    [
        "80;reboot", "80 -j ACCEPT", "80\n-A OUTPUT -j DROP", "$(reboot)", "`reboot`", "80|x", "80&&x", "٣",
        "８０", "0x5 0", "80\x00", "-80", "1-2-3x,", "10.0.0.0/8 -j ACCEPT", "10.0.0.0/8\n*filter", "::1%lo",
        "1.2.0.0/0.0.255.255", "1.2.0.0/255.255.0.0", "lo", "lo@", "@if5", ".", "..@x", "-t", "--help", "!eth0",
        "eth+", "eth0\n-F",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", list(FIELDS))
def test_nothing_of_an_annotation_gets_to_iptables_as_anything_but_a_value(
    name: str, item: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the injector, and by the command alone, which does not trust it."""
    field = FIELDS[name]
    good = {"ports": "80", "ranges": "10.0.0.0/8", "interfaces": "net1"}[field.read.__name__.removeprefix("all_or_")]
    for text in (item, f"{good},{item}"):
        with pytest.raises(ValueError):
            field.read(text)
        with pytest.raises(SystemExit):
            parse([f"--{field.flag}={text}", f"--annotated={field.flag}"])
        assert f"--{field.flag} (annotation {ANNOTATIONS[field.flag]}): " in capsys.readouterr().err
