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
