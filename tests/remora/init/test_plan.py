"""What planned rules do with every kind of connection, by a model of the kernel's evaluation."""

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from remora.init.plan import NEVER_INBOUND, PREFIX, Capture, plan
from remora.init.scalars import ALL_PORTS, Ports, Ranges, parse_ranges
from tests.remora.init.netfilter import Netfilter, Packet, Verdict
from tests.remora.init.strategies import (
    APP_UID,
    CLIENT,
    FORWARDED,
    LOCALHOST,
    POD,
    PORTS,
    PROXY,
    SERVICE,
    captures,
    packets,
)

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])


def table(capture: Capture, version: int) -> Netfilter:
    return Netfilter(plan(capture).of(version))


def inbound(version: int, port: int, interface: str = "eth0") -> Packet:
    return Packet("PREROUTING", CLIENT[version], POD[version], port, interface_in=interface)


def outbound(version: int, port: int, uid: int = APP_UID, gid: int | None = None, **changes: str) -> Packet:
    """From the pod to a service elsewhere."""
    packet = Packet(
        "OUTPUT", POD[version], SERVICE[version], port, interface_out="eth0", uid=uid, gid=uid if gid is None else gid
    )
    return replace(packet, **changes)  # type: ignore[arg-type]


def to_itself(version: int, port: int, uid: int, source: str | None = None, destination: str | None = None) -> Packet:
    """From the pod to an address of its own, which goes by the loopback interface."""
    mine = POD[version]
    return Packet("OUTPUT", source or mine, destination or mine, port, interface_out="lo", uid=uid, gid=uid)


LEFT_ALONE = Verdict(None, 0)


# What is usual


@VERSIONS
def test_what_comes_in_goes_to_15006_and_what_the_application_sends_to_15001(version: int) -> None:
    nat = table(Capture(), version)
    assert nat.verdict(inbound(version, 9080)) == Verdict(15_006, 1)
    assert nat.verdict(outbound(version, 80)) == Verdict(15_001, 1)


@VERSIONS
@pytest.mark.parametrize("port", NEVER_INBOUND)
def test_the_sidecars_own_ports_are_reached_as_they_are(version: int, port: int) -> None:
    assert table(Capture(), version).verdict(inbound(version, port)) == LEFT_ALONE
    listed = Capture(inbound_ports=(Ports(port, port),))
    assert table(listed, version).verdict(inbound(version, port)) == LEFT_ALONE


@VERSIONS
def test_what_the_sidecar_sends_leaves_as_it_is_by_user_or_by_group(version: int) -> None:
    nat = table(Capture(), version)
    assert nat.verdict(outbound(version, 80, uid=PROXY)) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80, uid=APP_UID, gid=PROXY)) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80, uid=PROXY, gid=0)) == LEFT_ALONE


@VERSIONS
def test_another_user_and_other_ports_of_the_sidecar_can_be_given(version: int) -> None:
    nat = table(Capture(uid=1400, gid=1401, inbound_to=16_006, outbound_to=16_001), version)
    assert nat.verdict(outbound(version, 80, uid=1400)) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80, uid=APP_UID, gid=1401)) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80, uid=PROXY)) == Verdict(16_001, 1)
    assert nat.verdict(inbound(version, 80)) == Verdict(16_006, 1)


@VERSIONS
def test_containers_of_a_pod_talk_to_each_other_unseen(version: int) -> None:
    nat = table(Capture(), version)
    assert nat.verdict(to_itself(version, 8080, APP_UID, LOCALHOST[version], LOCALHOST[version])) == LEFT_ALONE
    assert nat.verdict(to_itself(version, 8080, APP_UID)) == LEFT_ALONE


@VERSIONS
def test_an_application_that_calls_its_own_service_is_captured_once_on_each_side(version: int) -> None:
    nat = table(Capture(), version)
    by_application = nat.verdict(outbound(version, 80))
    assert by_application == Verdict(15_001, 1)
    # The sidecar chose this very pod and connects to it: in again, as from any client.
    by_sidecar = nat.verdict(to_itself(version, 8080, PROXY))
    assert by_sidecar == Verdict(15_006, 1)
    # And hands on to the application.
    assert nat.verdict(to_itself(version, 8080, PROXY, source=FORWARDED[version])) == LEFT_ALONE
    assert nat.verdict(to_itself(version, 8080, PROXY, LOCALHOST[version], LOCALHOST[version])) == LEFT_ALONE


@VERSIONS
def test_a_port_excluded_for_others_is_excluded_for_the_pods_own_sidecar_too(version: int) -> None:
    nat = table(Capture(exclude_inbound_ports=(Ports(8080, 8080),)), version)
    assert nat.verdict(to_itself(version, 8080, PROXY)) == LEFT_ALONE
    assert nat.verdict(to_itself(version, 8081, PROXY)) == Verdict(15_006, 1)


@VERSIONS
def test_a_port_excluded_on_the_way_out_does_not_open_a_way_around_the_inbound_policies(version: int) -> None:
    nat = table(Capture(exclude_outbound_ports=(Ports(8080, 8080),)), version)
    assert nat.verdict(outbound(version, 8080)) == LEFT_ALONE
    assert nat.verdict(to_itself(version, 8080, PROXY)) == Verdict(15_006, 1)
    assert nat.verdict(inbound(version, 8080)) == Verdict(15_006, 1)


@VERSIONS
def test_listed_inbound_ports_alone_are_captured(version: int) -> None:
    nat = table(Capture(inbound_ports=(Ports(80, 80), Ports(8000, 8010))), version)
    captured = [port for port in (79, 80, 81, 7999, 8000, 8010, 8011) if nat.verdict(inbound(version, port)).redirects]
    assert captured == [80, 8000, 8010]
    assert table(Capture(inbound_ports=()), version).verdict(inbound(version, 80)) == LEFT_ALONE


@VERSIONS
def test_excluded_inbound_ports_go_before_listed_ones(version: int) -> None:
    nat = table(Capture(inbound_ports=(Ports(8000, 8010),), exclude_inbound_ports=(Ports(8005, 8005),)), version)
    assert nat.verdict(inbound(version, 8005)) == LEFT_ALONE
    assert nat.verdict(inbound(version, 8006)) == Verdict(15_006, 1)


def test_ranges_of_one_kind_of_address_leave_the_other_kind_alone() -> None:
    capture = Capture(outbound_ranges=Ranges(networks=parse_ranges("10.96.0.0/12")))
    assert table(capture, 4).verdict(outbound(4, 80)) == Verdict(15_001, 1)
    assert table(capture, 4).verdict(outbound(4, 80, destination="8.8.8.8")) == LEFT_ALONE
    assert table(capture, 6).verdict(outbound(6, 80)) == LEFT_ALONE


@VERSIONS
def test_listed_outbound_ports_are_captured_for_every_address(version: int) -> None:
    capture = Capture(outbound_ranges=Ranges(), outbound_ports=(Ports(80, 80),))
    assert table(capture, version).verdict(outbound(version, 80)) == Verdict(15_001, 1)
    assert table(capture, version).verdict(outbound(version, 81)) == LEFT_ALONE


@VERSIONS
def test_excluded_ranges_and_ports_go_before_everything(version: int) -> None:
    network = ipaddress.ip_network(SERVICE[version])
    by_range = Capture(exclude_outbound_ranges=Ranges(networks=(network,)), outbound_ports=ALL_PORTS)
    assert table(by_range, version).verdict(outbound(version, 80)) == LEFT_ALONE
    by_port = Capture(exclude_outbound_ports=(Ports(80, 80),), outbound_ports=ALL_PORTS)
    assert table(by_port, version).verdict(outbound(version, 80)) == LEFT_ALONE


@VERSIONS
def test_excluded_interfaces_are_left_alone_both_ways(version: int) -> None:
    nat = table(Capture(exclude_interfaces=("net1",)), version)
    assert nat.verdict(inbound(version, 80, interface="net1")) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80, interface_out="net1")) == LEFT_ALONE
    assert nat.verdict(inbound(version, 80)) == Verdict(15_006, 1)


@VERSIONS
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_dns_goes_to_the_given_server_except_its_own_questions(version: int, protocol: str) -> None:
    nat = table(Capture(dns_to=15_053), version)
    assert nat.verdict(outbound(version, 53, protocol=protocol)) == Verdict(15_053, 1)
    local = replace(to_itself(version, 53, APP_UID, LOCALHOST[version], LOCALHOST[version]), protocol=protocol)
    assert nat.verdict(local) == Verdict(15_053, 1)
    assert nat.verdict(outbound(version, 53, uid=PROXY, protocol=protocol)) == LEFT_ALONE
    assert nat.verdict(outbound(version, 80)) == Verdict(15_001, 1)


@VERSIONS
def test_udp_is_never_captured_otherwise(version: int) -> None:
    for capture in (Capture(), Capture(dns_to=15_053)):
        nat = table(capture, version)
        assert nat.verdict(outbound(version, 443, protocol="udp")) == LEFT_ALONE
        assert nat.verdict(replace(inbound(version, 53), protocol="udp")) == LEFT_ALONE


def test_every_chain_is_recognisable_as_ours() -> None:
    rules = plan(Capture(dns_to=15_053))
    for one in (rules.ipv4, rules.ipv6):
        assert all(name.startswith(PREFIX) for name, _ in one.chains)
        assert all(f"-j {PREFIX}" in rule for _, rule in one.jumps)


# Whatever is asked for


def _within(port: int, ports: tuple[Ports, ...]) -> bool:
    return any(port in each for each in ports)


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
@given(data=st.data())
def test_captured_at_most_once_and_what_is_excluded_never(version: int, data: st.DataObject) -> None:
    capture, packet = data.draw(captures()), data.draw(packets(version))
    verdict = table(capture, version).verdict(packet)
    assert verdict.redirects <= 1
    proxys = packet.uid == capture.uid or packet.gid == capture.gid
    if packet.protocol == "udp":
        assert verdict.port in (None, capture.dns_to)
    if {packet.interface_in, packet.interface_out} & set(capture.exclude_interfaces):
        assert verdict == LEFT_ALONE
    if verdict.port == capture.inbound_to:
        assert packet.hook == "PREROUTING" or (proxys and packet.interface_out == "lo")
        assert packet.port not in NEVER_INBOUND
        assert not _within(packet.port, capture.exclude_inbound_ports)
        assert _within(packet.port, capture.inbound_ports)
    if verdict.port == capture.outbound_to:
        assert packet.hook == "OUTPUT"
        assert not proxys
        assert packet.interface_out != "lo"
        assert not _within(packet.port, capture.exclude_outbound_ports)
        to = ipaddress.ip_address(packet.destination)
        assert not any(to in each for each in capture.exclude_outbound_ranges.of(version).networks)
        wanted = capture.outbound_ranges.of(version)
        listed = wanted.all or any(to in each for each in wanted.networks)
        assert listed or _within(packet.port, capture.outbound_ports)
    if verdict.port == capture.dns_to and verdict.port is not None:
        assert packet.port == 53
        assert not proxys


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
@given(data=st.data())
def test_what_is_wanted_and_not_excluded_is_captured(version: int, data: st.DataObject) -> None:
    """The other way round: nothing slips by the sidecar."""
    capture, packet = data.draw(captures()), data.draw(packets(version))
    assume(packet.protocol == "tcp")
    assume(not {packet.interface_in, packet.interface_out} & set(capture.exclude_interfaces))
    verdict = table(capture, version).verdict(packet)
    if packet.hook == "PREROUTING":
        wanted = _within(packet.port, capture.inbound_ports) and packet.port not in NEVER_INBOUND
        if wanted and not _within(packet.port, capture.exclude_inbound_ports):
            assert verdict.port == capture.inbound_to
    elif PROXY not in (packet.uid, packet.gid) and packet.interface_out != "lo":
        to = ipaddress.ip_address(packet.destination)
        excluded = _within(packet.port, capture.exclude_outbound_ports) or any(
            to in each for each in capture.exclude_outbound_ranges.of(version).networks
        )
        if capture.dns_to is not None and packet.port == 53:
            assert verdict.port == capture.dns_to
        elif capture.outbound_ranges.all and not excluded:
            assert verdict.port == capture.outbound_to


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
@given(data=st.data())
@example(data=None)
def test_no_connection_comes_to_the_sidecar_more_than_once_on_each_side(
    version: int, data: st.DataObject | None
) -> None:
    """Follow what the sidecar does with each connection that it gets: connect onwards, wherever that may be."""
    capture = Capture() if data is None else data.draw(captures())
    nat = table(capture, version)
    packet = outbound(version, 80) if data is None else data.draw(packets(version))
    met: list[int] = []
    # By what the sidecar does: in from outside or its own way out, it hands on to its own pod, from 127.0.0.6 or by
    # loopback; out it goes to the destination that was meant, or to an endpoint, which may be this very pod.
    while (port := nat.verdict(packet).port) is not None and port != capture.dns_to:
        met.append(port)
        assert len(met) <= 2, f"goes on without end: {met}"
        if port == capture.inbound_to:
            source = FORWARDED[version] if data is None or data.draw(st.booleans()) else LOCALHOST[version]
            destination = POD[version] if source == FORWARDED[version] else LOCALHOST[version]
            packet = to_itself(version, packet.port, PROXY, source, destination)
        elif data is None or data.draw(st.booleans()):
            packet = to_itself(version, data.draw(PORTS) if data else 8080, PROXY)
        else:
            packet = replace(packet, uid=PROXY, gid=PROXY)
    assert met in ([], [capture.inbound_to], [capture.outbound_to], [capture.outbound_to, capture.inbound_to])
