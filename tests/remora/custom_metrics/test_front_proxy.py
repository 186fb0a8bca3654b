"""Only the API server's aggregation layer is let in."""

import pytest

from remora.custom_metrics.certificate import make
from remora.custom_metrics.front_proxy import FrontProxy, NoFrontProxy, admitted, read, tls

_PEER = {"subject": ((("organizationName", "x"),), (("commonName", "front-proxy-client"),))}


def test_the_cluster_s_own_words_are_understood() -> None:
    proxy = read({"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": '["front-proxy-client"]'})
    assert proxy == FrontProxy("PEM", frozenset({"front-proxy-client"}))
    assert read({"requestheader-client-ca-file": "PEM"}).names == frozenset()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "not configured"),
        ({"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": "["}, "allowed-names"),
        ({"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": "[1]"}, "no list of texts"),
    ],
)
def test_words_that_mean_nothing_are_refused(config: dict[str, str], why: str) -> None:
    with pytest.raises(NoFrontProxy, match=why):
        read(config)


def test_a_certificate_of_that_authority_is_not_enough_where_names_are_given() -> None:
    named = FrontProxy("PEM", frozenset({"front-proxy-client"}))
    assert admitted(named, _PEER)
    assert not admitted(named, {"subject": ((("commonName", "kubelet"),),)})
    assert not admitted(named, {"subject": ((("organizationName", "front-proxy-client"),),)})
    assert admitted(FrontProxy("PEM", frozenset()), _PEER)
    assert not admitted(FrontProxy("PEM", frozenset()), None)


def test_an_authority_that_is_no_certificate_is_named() -> None:
    with pytest.raises(NoFrontProxy, match="no PEM"):
        tls(make(["a.svc"], 1_769_860_800.0), FrontProxy("nothing", frozenset()))
