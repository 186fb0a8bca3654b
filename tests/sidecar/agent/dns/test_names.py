"""Which forms of a name are the mesh's, and what resolv.conf says."""

from ipaddress import ip_address

import pytest

from control.generate import name_table
from sidecar.agent.dns import resolv_conf
from sidecar.agent.dns.names import LAYER, Names, search_path

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
CART, PAY, API, ANY = (ip_address(f"10.96.0.{number}") for number in range(1, 5))
NAMES = Names(
    {
        "cart.shop.svc.cluster.local": (CART,),
        "pay.bank.svc.cluster.local": (PAY,),
        "api.example.com": (API,),
        "*.wild.example": (ANY,),
    },
    SEARCH,
)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("cart.shop.svc.cluster.local", CART),
        ("cart.shop.svc.cluster.local.", CART),
        ("CART.Shop.SVC.cluster.local", CART),
        ("cart", CART),
        ("cart.shop", CART),
        ("cart.shop.svc", CART),
        ("pay", None),
        ("pay.bank", PAY),
        ("api.example.com", API),
        ("api.example.com.shop.svc.cluster.local", API),
        ("api.example.com.corp.example", API),
        ("www.api.example.com", None),
        ("a.wild.example", ANY),
        ("b.a.wild.example", ANY),
        ("wild.example", None),
        ("notcart.shop.svc.cluster.local", None),
        ("example.com", None),
        ("", None),
        (".", None),
    ],
)
def test_a_name_is_known_in_full_and_by_the_search_path(name: str, address: object) -> None:
    assert NAMES.addresses(name) == (None if address is None else (address,))


def test_the_search_path_is_the_namespaces_and_what_is_configured() -> None:
    assert search_path("shop.svc.cluster.local", ["svc.cluster.local", "Corp.example."]) == SEARCH[:3] + SEARCH[3:]
    assert search_path("weird", ["corp.example"]) == ("corp.example",)
    assert search_path("", []) == ()


def test_the_control_plane_calls_the_layer_the_same() -> None:
    assert LAYER == name_table.LAYER


def test_resolv_conf_is_read_as_the_c_library_does() -> None:
    text = (
        "# nameserver 192.0.2.9\n; x\nnameserver 10.96.0.10\nnameserver\nnameserver nonsense\nnameserver fd00::a\n"
        "nameserver 10.96.0.10\nnameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch old\nsearch a.b c.d\noptions ndots:5\n"
    )
    assert resolv_conf.parse(text) == resolv_conf.ResolvConf(("10.96.0.10", "fd00::a", "10.0.0.3"), ("a.b", "c.d"))
    assert resolv_conf.parse("") == resolv_conf.ResolvConf(("127.0.0.1",))
