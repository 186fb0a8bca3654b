"""Which policy holds where several speak: pure tables."""

import pytest

from control.ir.policies import (
    Balancing,
    DestinationPolicy,
    MtlsMode,
    PeerPolicies,
    PeerPolicy,
    Pool,
    Subset,
    Tls,
    TlsMode,
    TrafficPolicy,
)

ROOTS = ("remora-system", "istio-system")
STRICT, PERMISSIVE, DISABLE = MtlsMode.STRICT, MtlsMode.PERMISSIVE, MtlsMode.DISABLE
APP = {"app": "a"}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param([], PERMISSIVE, id="nothing said"),
        pytest.param([PeerPolicy("istio-system", mode=STRICT)], STRICT, id="said for the mesh"),
        pytest.param([PeerPolicy("istio-system", mode=STRICT), PeerPolicy("remora-system", mode=DISABLE)], DISABLE,
                     id="our root namespace before Istio's"),
        pytest.param([PeerPolicy("other", mode=STRICT)], PERMISSIVE, id="said for another namespace"),
        pytest.param([PeerPolicy("ns", mode=DISABLE), PeerPolicy("istio-system", mode=STRICT)], DISABLE,
                     id="said for the namespace"),
        pytest.param([PeerPolicy("ns", mode=DISABLE), PeerPolicy("ns", mode=STRICT)], DISABLE, id="the older of two"),
        pytest.param([PeerPolicy("ns", mode=None), PeerPolicy("istio-system", mode=STRICT)], STRICT,
                     id="unset inherits"),
        pytest.param([PeerPolicy("ns", APP, STRICT), PeerPolicy("ns", mode=DISABLE)], STRICT,
                     id="said for the workload"),
        pytest.param([PeerPolicy("ns", {"app": "b"}, STRICT)], PERMISSIVE, id="said for another workload"),
        pytest.param([PeerPolicy("other", APP, STRICT)], PERMISSIVE, id="said for its like elsewhere"),
        pytest.param([PeerPolicy("ns", APP, STRICT, {80: DISABLE})], DISABLE, id="said for the port"),
        pytest.param([PeerPolicy("ns", APP, STRICT, {80: None})], STRICT, id="unset for the port"),
        pytest.param([PeerPolicy("ns", APP, STRICT, {81: DISABLE})], STRICT, id="said for another port"),
    ],
)  # fmt: skip
def test_the_narrowest_policy_that_says_something_holds(policies: list[PeerPolicy], expected: MtlsMode) -> None:
    assert PeerPolicies(tuple(policies), ROOTS).of_port("ns", APP, 80) is expected


@pytest.mark.parametrize(
    ("modes", "expected"),
    [((STRICT, DISABLE), STRICT), ((PERMISSIVE, DISABLE), PERMISSIVE), ((DISABLE, DISABLE), DISABLE)],
)
def test_ports_that_share_an_address_have_the_strictest_mode(modes: tuple[MtlsMode, ...], expected: MtlsMode) -> None:
    policies = PeerPolicies((PeerPolicy("ns", APP, None, dict(enumerate(modes, 80))),), ROOTS)
    assert policies.of_workload("ns", APP, [80, 81]) is expected
    assert policies.of_workload("ns", APP, []) is PERMISSIVE


def test_a_subset_says_what_it_says_and_inherits_the_rest() -> None:
    whole = TrafficPolicy(Balancing.RANDOM, Pool(max_connections=1), Tls(TlsMode.DISABLE))
    policy = DestinationPolicy(
        whole,
        ports={80: TrafficPolicy(Balancing.ROUND_ROBIN)},
        subsets={"v1": Subset({}, TrafficPolicy(pool=Pool(max_connections=2)), {81: TrafficPolicy()})},
    )
    assert policy.for_port(90) == whole
    assert policy.for_port(80) == TrafficPolicy(Balancing.ROUND_ROBIN)
    assert policy.for_port(90, "v1") == TrafficPolicy(Balancing.RANDOM, Pool(max_connections=2), Tls(TlsMode.DISABLE))
    assert policy.for_port(80, "v1") == TrafficPolicy(Balancing.ROUND_ROBIN, Pool(max_connections=2))
    assert policy.for_port(81, "v1") == TrafficPolicy()
    assert policy.uses(TlsMode.DISABLE)
    assert not policy.uses(TlsMode.SIMPLE)
