"""Tables of routes, as the kernel shows them."""

import pytest

from remora.init.routes import best, routes

IPV4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
net1\t00000000\t0102A8C0\t0003\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0000000A\t00000000\t0200\t0\t0\t0\t000000FF\t0\t0\t0
net2\t0000000A\t00000000\t0001\t0\t0\t9\t000000FF\t0\t0\t0
broken line
"""
IPV6 = """\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     net1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501


@pytest.mark.parametrize(
    ("text", "address", "interface"),
    [
        (IPV4, "192.0.2.1", "net1"),
        (IPV4, "192.168.1.7", "eth0"),
        (IPV4, "10.1.2.3", "net2"),
        (IPV4.splitlines()[0], "192.0.2.1", None),
        ("", "192.0.2.1", None),
        (IPV6, "2001:db8::1", "eth0"),
        (IPV6, "fd00::9", "net1"),
        (IPV6.splitlines()[2], "2001:db8::1", None),
    ],
    ids=[
        "the lower metric",
        "the longer prefix",
        "not the one that rejects",
        "a table without routes",
        "no table",
        "IPv6's default",
        "IPv6's longer prefix",
        "IPv6's own refusal",
    ],
)
def test_the_interface_is_that_of_the_best_route(text: str, address: str, interface: str | None) -> None:
    assert best(routes(text, 6 if ":" in address else 4), address) == interface
