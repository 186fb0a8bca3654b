"""Any capture that can be asked for, and any packet that a pod's kernel sees."""

import ipaddress

from hypothesis import assume
from hypothesis import strategies as st

from remora.init.plan import FORWARDED_FROM, NEVER_INBOUND, Capture
from remora.init.scalars import ALL_PORTS, LOOPBACK, Network, Ports, Ranges, merged
from tests.remora.init.netfilter import Packet

APP_UID, PROXY = 1000, 1337
POD = {4: "10.1.0.5", 6: "fd00:1::5"}
SERVICE = {4: "10.96.0.10", 6: "fd00:96::10"}
CLIENT = {4: "10.1.9.9", 6: "fd00:1::99"}
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
FORWARDED = {version: network.partition("/")[0] for version, network in FORWARDED_FROM.items()}

PORTS = st.integers(1, 65_535) | st.sampled_from([53, 80, 8080, 15_001, 15_006, *NEVER_INBOUND])
PORT_LISTS = st.lists(st.tuples(PORTS, PORTS).map(lambda ends: Ports(min(ends), max(ends))), max_size=4).map(merged)
INTERFACES = ("eth0", "eth1", "net1")


@st.composite
def addresses(draw: st.DrawFn, version: int) -> str:
    bits = 32 if version == 4 else 128
    known = [POD[version], SERVICE[version], CLIENT[version], LOCALHOST[version], FORWARDED[version]]
    number = draw(st.sampled_from([int(ipaddress.ip_address(each)) for each in known]) | st.integers(1, 2**bits - 2))
    return str((ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(number))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    version = draw(st.sampled_from([4, 6]))
    prefix = draw(st.integers(0, 32 if version == 4 else 128))
    network = ipaddress.ip_network(f"{draw(addresses(version))}/{prefix}", strict=False)
    assume(not prefix or not network.overlaps(LOOPBACK[version]))
    return network


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    def ranges() -> Ranges:
        return Ranges(networks=tuple(draw(st.lists(networks(), max_size=3))))

    return Capture(
        inbound_ports=draw(st.just(ALL_PORTS) | PORT_LISTS),
        exclude_inbound_ports=draw(PORT_LISTS),
        outbound_ports=draw(PORT_LISTS),
        exclude_outbound_ports=draw(PORT_LISTS),
        outbound_ranges=Ranges(all=True) if draw(st.booleans()) else ranges(),
        exclude_outbound_ranges=ranges(),
        exclude_interfaces=tuple(draw(st.lists(st.sampled_from(INTERFACES), max_size=2, unique=True))),
        dns_to=draw(st.none() | st.just(15_053)),
    )


@st.composite
def packets(draw: st.DrawFn, version: int) -> Packet:
    """Every kind that a pod's kernel sees: from others, from the application, from the sidecar, within the pod."""
    protocol, port = draw(st.sampled_from(["tcp", "tcp", "udp"])), draw(PORTS)
    source, destination = draw(addresses(version)), draw(addresses(version))
    if draw(st.booleans()):
        interface = draw(st.sampled_from(INTERFACES))
        return Packet("PREROUTING", source, destination, port, protocol, interface_in=interface)
    own = (POD[version], FORWARDED[version])
    local = destination in own or ipaddress.ip_address(destination) in LOOPBACK[version]
    interface = "lo" if local else draw(st.sampled_from(INTERFACES))
    uid, gid = draw(st.sampled_from([0, APP_UID, PROXY])), draw(st.sampled_from([0, APP_UID, PROXY]))
    return Packet("OUTPUT", source, destination, port, protocol, interface_out=interface, uid=uid, gid=gid)
