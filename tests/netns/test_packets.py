"""The harness itself: what a wiretap sees."""

import pytest

from tests.netns.namespaces import Network
from tests.netns.packets import Wiretap, tls_records


def test_a_wiretap_sees_every_byte_in_both_directions(net: Network) -> None:
    one, other = net.pod("one"), net.pod("other")
    for version in (4, 6):
        target = (other.address(version), 8080)
        with Wiretap(net.hub, one.link) as wire, other.listen(*target) as server:
            client = one.new_socket(server.family)
            with client:
                client.connect(target)
                accepted, _ = server.accept()
                with accepted:
                    client.sendall(b"question" * 20_000)
                    got = b""
                    while len(got) < 160_000:
                        got += accepted.recv(65_536)
                    accepted.sendall(b"answer")
                    assert client.recv(100) == b"answer"
            assert wire.sent_to(*target) == b"question" * 20_000
            assert wire.sent_to(one.address(version)) == b"answer"


def test_pods_reach_each_other_by_the_hub_and_leave_nothing_behind(net: Network) -> None:
    one = net.pod("one")
    name = one.name
    assert one.run("ip", "-o", "link").stdout.count("\n") == 2
    net.close()
    assert not one.path.exists()
    assert name not in net.hub.path.parent.as_posix()


def test_plaintext_is_no_tls() -> None:
    assert [record.kind for record in tls_records(bytes.fromhex("1603010002aabb1703030001cc"))] == [22, 23]
    with pytest.raises(ValueError, match="no TLS at byte 0"):
        list(tls_records(b"GET / HTTP/1.1\r\n\r\n"))
