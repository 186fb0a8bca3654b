"""What a stream is sent, when, and what its answers change. A scripted client stands at the other end."""

import pytest

from control.generate.types import Snapshot
from control.xds.messages import CDS, EDS, LDS, RDS, SDS, SHORT, Request, Response
from control.xds.subscription import GATE_S, REPEAT_S, Accepted, Refused, Subscription, UnknownType
from tests.control.xds.snapshots import made_of

FIRST = made_of(CDS="a b", LDS="out in", RDS="routes")


class Client:
    """Speaks Envoy's part by hand; keeps what it was sent."""

    def __init__(self, snapshot: Snapshot | None = FIRST) -> None:
        self.subscription = Subscription("s")
        self.now = 100.0
        self.last: dict[str, Response] = {}
        self.versions: dict[str, str] = {}
        self.names: dict[str, frozenset[str]] = {}
        if snapshot is not None:
            self.subscription.offer(snapshot)

    def ask(self, url: str, *names: str, version: str = "") -> object:
        """The first request of a type on this stream, or another list of names."""
        self.names[url] = frozenset(names)
        known = self.last.get(url)
        request = Request(url, version or self.versions.get(url, ""), known.nonce if known else "", self.names[url])
        return self.subscription.receive(request, self.now)

    def ack(self, url: str, *names: str) -> object:
        self.versions[url] = self.last[url].version
        return self.ask(url, *(names or self.names[url]))

    def nack(self, url: str, why: str = "no") -> object:
        request = Request(url, self.versions.get(url, ""), self.last[url].nonce, self.names[url], why)
        return self.subscription.receive(request, self.now)

    def sent(self) -> list[str]:
        """Everything that is sent now, by short name."""
        shorts = []
        while (response := self.subscription.next(self.now)) is not None:
            self.last[response.type_url] = response
            shorts.append(SHORT[response.type_url])
        return shorts

    def names_in(self, url: str) -> set[str]:
        return {resource.value.decode().split()[0] for resource in self.last[url].resources}

    def start(self) -> None:
        """The whole dance of a fresh Envoy."""
        self.ask(CDS)
        assert self.sent() == ["CDS"]
        self.ack(CDS)
        self.ask(EDS, *self.names_in(CDS))
        self.ask(SDS, "ROOTCA")
        assert self.sent() == ["EDS", "SDS"]
        self.ack(EDS)
        self.ack(SDS)
        self.ask(LDS)
        assert self.sent() == ["LDS"]
        self.ack(LDS)
        self.ask(RDS, "routes")
        assert self.sent() == ["RDS"]
        self.ack(RDS)
        assert self.sent() == []
        assert self.subscription.synced


@pytest.fixture
def client() -> Client:
    made = Client()
    made.start()
    return made


def test_nothing_is_sent_before_there_is_a_snapshot() -> None:
    client = Client(None)
    client.ask(CDS)
    assert client.sent() == []
    assert not client.subscription.synced
    client.subscription.offer(FIRST)
    assert client.sent() == ["CDS"]


def test_an_empty_first_request_gets_everything_of_a_wildcard_type() -> None:
    client = Client()
    client.ask(CDS)
    client.sent()
    assert client.names_in(CDS) == {"a", "b"}
    assert client.last[CDS].version == FIRST.versions[CDS]


def test_a_star_is_everything_too() -> None:
    client = Client()
    client.ask(LDS, "*")
    client.sent()
    assert client.names_in(LDS) == {"in", "out"}


def test_no_names_of_a_named_type_get_nothing() -> None:
    client = Client()
    client.ask(RDS)
    assert client.sent() == []


def test_named_types_get_what_they_name() -> None:
    client = Client()
    client.ask(EDS, "b", "unheard-of")
    client.sent()
    assert client.names_in(EDS) == {"b"}


def test_every_response_has_a_nonce_of_its_own(client: Client) -> None:
    nonces = [response.nonce for response in client.last.values()]
    assert len(set(nonces)) == len(nonces)
    assert all(nonce.startswith("s.") for nonce in nonces)


def test_a_client_that_is_not_running_waits_for_no_acknowledgement() -> None:
    """Our sidecar acknowledges clusters only when listeners have come as well."""
    client = Client()
    client.ask(CDS)
    client.ask(LDS)
    assert client.sent() == ["CDS", "LDS"]
    client.ask(EDS, "a", "b")
    client.ask(RDS, "routes")
    client.ask(SDS, "ROOTCA")
    assert client.sent() == ["EDS", "RDS", "SDS"]
    for url in (CDS, LDS, EDS, RDS, SDS):
        client.ack(url)
    assert client.sent() == []
    assert client.subscription.synced


def test_an_equal_snapshot_sends_nothing(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS="routes"))
    assert client.sent() == []
    assert client.subscription.synced


def test_only_what_changed_is_sent(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["RDS"]
    assert not client.subscription.synced
    assert client.ack(RDS) == Accepted(RDS, client.last[RDS].version)
    assert client.subscription.synced


def test_changes_go_out_in_order_each_after_the_last_was_taken(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b c", LDS={"out": "v2", "in": "v1"}, RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    client.ack(CDS)
    assert client.sent() == []  # it has not asked for c's endpoints
    client.ask(EDS, "a", "b", "c")
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"c"}, "it has the others"
    client.ack(EDS)
    assert client.sent() == ["LDS"]
    client.ack(LDS)
    assert client.sent() == ["RDS"]
    client.ack(RDS)
    assert client.subscription.synced


def test_asking_for_new_endpoints_releases_them_before_the_clusters_are_acknowledged(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b c", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    client.ask(EDS, "a", "b", "c")
    assert client.sent() == ["EDS"]
    client.ack(CDS)
    client.ack(EDS)
    assert client.sent() == ["RDS"]


def test_a_changed_cluster_gets_its_endpoints_again(client: Client) -> None:
    """Envoy warms a changed cluster, and waits for endpoints even if they are the same."""
    client.subscription.offer(made_of(CDS={"a": "v2", "b": "v1"}, EDS="a b", LDS="out in", RDS="routes"))
    assert client.sent() == ["CDS", "EDS"]
    client.ack(CDS)
    client.ack(EDS)
    assert client.sent() == []
    assert client.subscription.synced


def test_a_client_that_does_not_answer_is_waited_for_only_so_long(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "v2", "b": "v1", "c": "v1"}, LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    assert client.subscription.deadline(client.now) == client.now + GATE_S
    client.now += GATE_S
    assert client.sent() == ["EDS"]
    client.now += GATE_S
    assert client.sent() == ["RDS"]
    assert client.subscription.deadline(client.now + GATE_S) is None


def test_trust_waits_for_nobody(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b c", LDS="out in", RDS={"routes": "v2"}, SDS={"ROOTCA": "v2"}))
    assert client.sent() == ["CDS", "SDS"]


def test_removed_clusters_stay_until_no_route_can_use_them(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["RDS"]
    client.ack(RDS)
    assert not client.subscription.synced
    assert client.sent() == ["CDS", "EDS"]
    assert client.names_in(CDS) == {"a"}
    client.ack(CDS)
    client.ack(EDS, "a")
    assert client.sent() == []
    assert client.subscription.synced


def test_replaced_clusters_are_made_before_the_old_ones_are_broken(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a c", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    assert client.names_in(CDS) == {"a", "b", "c"}
    client.ask(EDS, "a", "b", "c")
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"c"}, "it has the others"
    client.ack(CDS)
    client.ack(EDS)
    assert client.sent() == ["RDS"]
    client.ack(RDS)
    assert client.sent() == ["CDS", "EDS"]
    assert client.names_in(CDS) == {"a", "c"}


def test_a_removed_cluster_that_no_route_change_comes_with_goes_at_once(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a", LDS="out in", RDS="routes"))
    assert client.sent() == ["CDS", "EDS"]
    assert client.names_in(CDS) == {"a"}


def test_wanting_fewer_names_is_no_reason_to_send(client: Client) -> None:
    client.ask(EDS, "a")
    assert client.sent() == []
    assert client.subscription.synced


def test_wanting_fewer_names_does_not_hide_a_change_that_waits(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v2", "b": "v1"}, LDS="out in", RDS="routes"))
    client.ask(EDS, "a")
    assert client.sent() == ["EDS"]
    assert client.last[EDS].resources[0].value == b"a v2"


def test_a_new_name_is_answered_though_nothing_changed(client: Client) -> None:
    client.ask(EDS, "a")
    client.ask(EDS, "a", "b")
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"b"}


def test_a_stale_nonce_is_passed_over(client: Client) -> None:
    stale = client.last[RDS].nonce
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "v2"}))
    client.sent()
    late = Request(RDS, "whatever", stale, frozenset({"routes"}), "refused, but the old one")
    assert client.subscription.receive(late, client.now) is None
    assert not client.subscription.refused
    client.ack(RDS)
    assert client.subscription.synced


def test_asking_again_for_what_it_has_is_answered_but_not_in_a_loop(client: Client) -> None:
    client.ask(EDS, "a", "b")
    assert client.sent() == ["EDS"]
    client.ack(EDS)
    client.ask(EDS, "a", "b")
    assert client.sent() == []
    client.now += REPEAT_S
    client.ask(EDS, "a", "b")
    assert client.sent() == ["EDS"]


def test_a_refused_version_is_not_sent_again_and_the_old_one_counts(client: Client) -> None:
    old = client.versions[RDS]
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "bad"}))
    client.sent()
    bad = client.last[RDS].version
    assert client.nack(RDS, "virtual_hosts[0]: no") == Refused(RDS, bad, "virtual_hosts[0]: no")
    assert client.sent() == []
    assert client.subscription.refused
    assert not client.subscription.synced
    assert client.subscription.types[RDS].acked == old


def test_the_next_good_version_is_sent_after_a_refusal(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "bad"}))
    client.sent()
    client.nack(RDS)
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "v3"}))
    assert client.sent() == ["RDS"]
    client.ack(RDS)
    assert client.subscription.synced
    assert not client.subscription.refused


def test_going_back_after_a_refusal_is_sent_too(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "bad"}))
    client.sent()
    client.nack(RDS)
    client.subscription.offer(FIRST)
    assert client.sent() == ["RDS"]
    client.ack(RDS)
    assert client.subscription.synced


def test_routes_wait_while_their_clusters_are_refused_but_endpoints_and_trust_flow(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "bad", "b": "v1"}, EDS="a b", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS", "EDS"]
    client.nack(CDS)
    client.ack(EDS)
    assert client.sent() == []
    client.subscription.offer(
        made_of(
            CDS={"a": "bad", "b": "v1"},
            EDS={"a": "v2", "b": "v1"},
            LDS="out in",
            RDS={"routes": "v2"},
            SDS={"ROOTCA": "v2"},
        )
    )
    assert client.sent() == ["EDS", "SDS"]


def test_two_equal_offers_do_not_break_what_one_of_them_keeps(client: Client) -> None:
    for _ in range(2):
        client.subscription.offer(made_of(CDS="a", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["RDS"]


def test_refused_clusters_are_not_kept_for_the_next_version(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "v1", "b": "v1", "bad": "v1"}, LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    client.nack(CDS)
    client.subscription.offer(made_of(CDS="a b c", LDS="out in", RDS={"routes": "v3"}))
    assert client.sent() == ["CDS"]
    assert client.names_in(CDS) == {"a", "b", "c"}


def test_clusters_refused_while_the_next_version_waits_are_not_kept_either(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "v1", "b": "v1", "bad": "v1"}, LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": "v3"}))
    client.nack(CDS)
    assert client.sent() == ["CDS"]
    assert client.names_in(CDS) == {"a", "b"}
    client.ack(CDS)
    assert client.sent() == ["RDS"]


def test_a_reconnecting_client_that_has_everything_is_sent_nothing(client: Client) -> None:
    again = Client()
    for url, names in client.names.items():
        assert again.ask(url, *names, version=client.versions[url]) == Accepted(url, client.versions[url])
    assert again.sent() == []
    assert again.subscription.synced


def test_a_reconnecting_client_is_sent_what_changed_meanwhile(client: Client) -> None:
    again = Client(made_of(CDS="a b", LDS="out in", RDS={"routes": "v2"}))
    for url, names in client.names.items():
        again.ask(url, *names, version=client.versions[url])
    assert again.sent() == ["RDS"]


def test_a_reconnecting_client_that_wants_more_than_it_had_gets_it() -> None:
    before = Client()
    before.ask(EDS, "a")
    before.sent()
    again = Client()
    again.ask(EDS, "a", "b", version=before.last[EDS].version)
    assert again.sent() == ["EDS"]


def test_of_endpoints_only_the_changed_are_sent(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v1", "b": "v2"}, LDS="out in", RDS="routes"))
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"b"}
    client.ack(EDS)
    assert client.subscription.synced
    assert client.versions[EDS] == made_of(EDS={"a": "v1", "b": "v2"}).versions[EDS], "the version is that of all"


def test_of_changed_clusters_only_the_changed_get_their_endpoints_again(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "v2", "b": "v1"}, EDS="a b", LDS="out in", RDS="routes"))
    assert client.sent() == ["CDS", "EDS"]
    assert client.names_in(CDS) == {"a", "b"}, "clusters are always sent whole"
    assert client.names_in(EDS) == {"a"}


def test_routes_wait_for_clusters_that_need_no_endpoints_too(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b by-dns", EDS="a b", LDS="out in", RDS={"routes": "v2"}))
    assert client.sent() == ["CDS"]
    client.ack(CDS)
    assert client.sent() == ["RDS"]


def test_what_was_refused_comes_with_the_next_change(client: Client) -> None:
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "bad", "b": "v1"}, LDS="out in", RDS="routes"))
    client.sent()
    client.nack(EDS)
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "bad", "b": "v2"}, LDS="out in", RDS="routes"))
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"a", "b"}, "the version that it may accept is of both"


def test_what_nobody_has_answered_comes_with_the_next_change(client: Client) -> None:
    """The client's refusal of the first of two answers is not heard: it speaks of the second one alone."""
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v2", "b": "v1"}, LDS="out in", RDS="routes"))
    assert client.sent() == ["EDS"]
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v2", "b": "v2"}, LDS="out in", RDS="routes"))
    client.now += GATE_S
    assert client.sent() == ["EDS"]
    assert client.names_in(EDS) == {"a", "b"}
    client.ack(EDS)
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v3", "b": "v2"}, LDS="out in", RDS="routes"))
    client.sent()
    assert client.names_in(EDS) == {"a"}, "what it took is not owed any more"


def test_clusters_that_changed_in_refused_versions_get_their_endpoints_when_taken(client: Client) -> None:
    client.subscription.offer(made_of(CDS={"a": "bad", "b": "v2"}, EDS="a b", LDS="out in", RDS="routes"))
    client.sent()
    client.nack(CDS)
    client.ack(EDS)
    client.subscription.offer(made_of(CDS={"a": "v3", "b": "v2"}, EDS="a b", LDS="out in", RDS="routes"))
    assert client.sent() == ["CDS", "EDS"]
    assert client.names_in(EDS) == {"a", "b"}, "b has not been accepted before"


def test_a_name_that_was_left_and_comes_back_is_sent(client: Client) -> None:
    client.ask(EDS, "a")
    client.subscription.offer(made_of(CDS="a b", EDS={"a": "v1", "b": "v2"}, LDS="out in", RDS="routes"))
    assert client.sent() == [], "nothing that it wants"
    client.ask(EDS, "a", "b")
    assert client.sent() == ["EDS"]
    assert client.last[EDS].resources[0].value == b"b v2"


def test_a_reconnecting_client_that_has_another_version_gets_all(client: Client) -> None:
    again = Client(made_of(CDS="a b", EDS={"a": "v1", "b": "v2"}, LDS="out in", RDS="routes"))
    again.ask(EDS, "a", "b", version=client.versions[EDS])
    assert again.sent() == ["EDS"]
    assert again.names_in(EDS) == {"a", "b"}


def test_a_reconnecting_client_that_has_the_version_gets_what_changes_later(client: Client) -> None:
    again = Client()
    again.ask(EDS, "a", "b", version=client.versions[EDS])
    assert again.sent() == []
    again.subscription.offer(made_of(CDS="a b", EDS={"a": "v1", "b": "v2"}, LDS="out in", RDS="routes"))
    assert again.sent() == ["EDS"]
    assert again.names_in(EDS) == {"b"}


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(UnknownType, match="unknown type URL"):
        Client().ask("type.googleapis.com/envoy.service.nothing.v3.Nothing")


def test_many_changes_before_an_answer_become_one(client: Client) -> None:
    for edition in range(2, 50):
        client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS={"routes": f"v{edition}"}))
        expected = ["RDS"] if edition == 2 else []
        assert client.sent() == expected
    client.ack(RDS)
    assert client.sent() == ["RDS"]
    assert client.last[RDS].resources[0].value == b"routes v49"


def test_other_names_with_the_version_before_are_no_acknowledgement(client: Client) -> None:
    """A client that makes an answer serve before it acknowledges it may ask meanwhile for other names."""
    before = client.versions[EDS]
    client.subscription.offer(made_of(CDS="a b", LDS="out in", RDS="routes", EDS={"a": "v2", "b": "v1", "c": "v1"}))
    assert client.sent() == ["EDS"]
    assert client.ask(EDS, "a", "b", "c") is None, "its version is still the one before"
    assert client.subscription.types[EDS].acked == before
    assert not client.subscription.synced
    assert client.sent() == ["EDS"], "what it asks for is not held back"
    assert client.ack(EDS) == Accepted(EDS, client.last[EDS].version)
    assert client.subscription.synced
