"""The model of tests/remora/init/netfilter.py against the kernel: both say the same of any rules and any connection."""

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from remora.init.back_end import BackEnd
from remora.init.plan import Capture, plan
from remora.init.table import read, transition
from tests.netns.namespaces import Namespace, Network
from tests.remora.init.netfilter import Netfilter, Packet
from tests.remora.init.strategies import APP_UID, CLIENT, FORWARDED, LOCALHOST, PORTS, PROXY, SERVICE, captures

PLACES = (Capture().inbound_to, Capture().outbound_to, 15_053)
"""Where redirected connections arrive."""


@contextlib.contextmanager
def listening(pod: Namespace, version: int) -> Iterator[dict[socket.socket, int]]:
    with contextlib.ExitStack() as stack:
        host = "0.0.0.0" if version == 4 else "::"
        yield {stack.enter_context(pod.listen(host, port)): port for port in PLACES}


def arrives(client: socket.socket, packet: Packet, servers: dict[socket.socket, int]) -> int | None:
    """The port where the connection arrived, or None: it was refused, or there was no way."""
    with client:
        try:
            client.bind((packet.source, 0))
            client.connect((packet.destination, packet.port))
        except OSError:
            return None
        ready, _, _ = select.select(list(servers), [], [], 2)
        accepted, _ = ready[0].accept()
        accepted.close()
        return servers[ready[0]]


def _pod(net: Network) -> Namespace:
    pod = net.pod("pod")
    pod.ip(f"address add {FORWARDED[6]}/128 dev lo")  # as the command does
    # Nobody listens there: what is not captured is refused at once.
    net.hub.ip(*(f"address add {each} dev lo" for each in (*SERVICE.values(), *CLIENT.values())))
    return pod


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_model_and_kernel_agree_on_where_a_connection_arrives(net: Network, version: int, data: st.DataObject) -> None:
    pod = net.pods.get("pod") or _pod(net)
    capture, port = data.draw(captures()), data.draw(PORTS)
    assume(port not in PLACES)
    own = pod.address(version)
    if data.draw(st.booleans()):
        packet = Packet("PREROUTING", net.hub.address(version), own, port, interface_in="eth0")
        client = net.hub.new_socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    else:
        destination = data.draw(st.sampled_from([own, SERVICE[version], CLIENT[version], LOCALHOST[version]]))
        local = destination in (own, LOCALHOST[version])
        sources = [own, FORWARDED[version], LOCALHOST[version]] if local else [own]
        if version == 6 and destination == own:
            sources.remove(LOCALHOST[6])  # the kernel drops it: ::1 is for ::1
        uid, gid = data.draw(st.sampled_from([0, APP_UID, PROXY])), data.draw(st.sampled_from([0, APP_UID, PROXY]))
        source, interface = data.draw(st.sampled_from(sources)), "lo" if local else "eth0"
        packet = Packet("OUTPUT", source, destination, port, interface_out=interface, uid=uid, gid=gid)
        client = pod.new_socket(socket.AF_INET if version == 4 else socket.AF_INET6, uid=uid, gid=gid)
    back_end = BackEnd("nft", "-nft")
    with pod.entered():
        back_end.restore(version, transition(read(back_end.save(version)).ours, plan(capture).of(version)) or "\n")
    with listening(pod, version) as servers:
        assert arrives(client, packet, servers) == Netfilter(plan(capture).of(version)).verdict(packet).port
