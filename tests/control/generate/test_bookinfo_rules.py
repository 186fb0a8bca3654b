"""Rules in the shapes of Istio's public Bookinfo sample: each applies as it is, on top of the others, and does what its
name says."""

import pytest

from control.analyze import analyze
from control.api import Parsed, World
from control.generate import check, generate
from control.ir import MeshSettings
from control.translate import translate
from tests.control.translate.bookinfo import ROOT_PEM, WORKLOADS, parsed, proxy, world
from tests.control.translate.simulation import Simulation, simulate


def document(kind: str, name: str, spec: str, version: str = "v1") -> str:
    return f"apiVersion: networking.istio.io/{version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{spec}"


def subsets(name: str, *versions: str, policy: str = "") -> str:
    listed = "".join(f"  - name: {v}\n    labels:\n      version: {v}\n" for v in versions)
    return document("DestinationRule", name, f"  host: {name}\n{policy}  subsets:\n{listed}")


def all_destinations(policy: str = "") -> str:
    return "---\n".join(
        [
            subsets("productpage", "v1", policy=policy),
            subsets("reviews", "v1", "v2", "v3", policy=policy),
            subsets("ratings", "v1", "v2", "v2-mysql", "v2-mysql-vm", policy=policy),
            subsets("details", "v1", "v2", policy=policy),
            "",
        ]
    )


def destination(host: str, subset: str, weight: int | None = None, indent: str = "    ") -> str:
    weighted = "" if weight is None else f"{indent}  weight: {weight}\n"
    return f"{indent}- destination:\n{indent}    host: {host}\n{indent}    subset: {subset}\n{weighted}"


def sends(host: str, *shares: tuple[str, int | None], version: str = "v1") -> str:
    route = "".join(destination(host, subset, weight) for subset, weight in shares)
    return document("VirtualService", host, f"  hosts:\n    - {host}\n  http:\n  - route:\n{route}", version)


def splits(host: str, user: str, his: str, *others: tuple[str, int | None], fault: str = "") -> str:
    condition = f"  - match:\n    - headers:\n        end-user:\n          exact: {user}\n{fault}    route:\n"
    rest = "".join(destination(host, subset, weight) for subset, weight in others)
    return document(
        "VirtualService",
        host,
        f"  hosts:\n  - {host}\n  http:\n{condition}{destination(host, his)}  - route:\n{rest}",
        "v1alpha3",
    )


def edge(name: str, selector: str, namespace: str, paths: str, host: str, port: int) -> str:
    server = '  servers:\n  - port:\n      number: 80\n      name: http\n      protocol: HTTP\n    hosts:\n    - "*"\n'
    gateway = document("Gateway", f"{name}-gateway", f"  selector:\n    istio: {selector} # the default\n{server}")
    route = f"    route:\n    - destination:\n        host: {host}\n        port:\n          number: {port}\n"
    service = document(
        "VirtualService",
        name,
        f'  hosts:\n  - "*"\n  gateways:\n  - {name}-gateway\n  http:\n  - match:\n{paths}{route}',
    )
    text = f"{gateway}---\n{service}"
    return text.replace("metadata:\n", f"metadata:\n  namespace: {namespace}\n") if namespace != "default" else text


PATHS = "".join(
    f"    - uri:\n        {path}\n" for path in ("exact: /productpage", "prefix: /static", "prefix: /api/v1/products")
)
BOOKINFO_GATEWAY = edge("bookinfo", "ingressgateway", "default", PATHS, "productpage", 9080)
ABORT = "    fault:\n      abort:\n        percentage:\n          value: 100.0\n        httpStatus: 500\n"
DELAY = "    fault:\n      delay:\n        percent: 100\n        fixedDelay: 7s\n"
OUTSIDE = document(
    "ServiceEntry", "outside",
    "  hosts:\n    - www.example.com\n  ports:\n    - number: 443\n      name: https\n      protocol: http\n"
    "  location: MESH_EXTERNAL\n  resolution: DNS\n",
    "v1alpha3",
)  # fmt: skip
BROKEN_DETAILS = (
    document(
        "VirtualService",
        "details",
        "  hosts:\n  - details\n  http:\n  - fault:\n      abort:\n        httpStatus: 555\n        percentage:\n"
        f"          value: 100.0\n    route:\n{destination('details', 'v1')}  - route:\n{destination('details', 'v1')}",
        "v1alpha3",
    )
    + "---\n"
    + subsets("details", "v1")
)
MUTUAL = "  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n"
RANDOM = "  trafficPolicy:\n    loadBalancer:\n      simple: RANDOM\n"
ALL_V1 = "---\n".join(sends(host, ("v1", None)) for host in ("productpage", "reviews", "ratings", "details"))

REVIEWS, RATINGS = "http://reviews:9080/reviews/0", "http://ratings:9080/ratings/0"
CASES = [
    pytest.param(all_destinations(), REVIEWS, "reviews", "reviews", id="destination-rule-all"),
    pytest.param(all_destinations(MUTUAL), REVIEWS, "reviews", "reviews", id="destination-rule-all-mtls"),
    pytest.param(subsets("reviews", "v1", "v2", "v3", policy=RANDOM), REVIEWS, "reviews", "reviews",
                 id="destination-rule-reviews"),
    pytest.param(ALL_V1 + "---\n", REVIEWS, "reviews:v1", "reviews:v1", id="virtual-service-all-v1"),
    pytest.param(sends("details", ("v2", None)), "http://details:9080/details/0", "details:v2", "details:v2",
                 id="virtual-service-details-v2"),
    pytest.param(sends("reviews", ("v3", None)) + "---\n" + sends("ratings", ("v2", None)), RATINGS, "ratings:v2",
                 "ratings:v2", id="virtual-service-ratings-db"),
    pytest.param(sends("reviews", ("v3", None)) + "---\n" + sends("ratings", ("v2-mysql", None)), RATINGS,
                 "ratings:v2-mysql", "ratings:v2-mysql", id="virtual-service-ratings-mysql"),
    pytest.param(sends("reviews", ("v3", None)) + "---\n" + sends("ratings", ("v2-mysql-vm", None)), RATINGS,
                 "ratings:v2-mysql-vm", "ratings:v2-mysql-vm", id="virtual-service-ratings-mysql-vm"),
    pytest.param(splits("ratings", "jason", "v1", ("v1", None), fault=ABORT), RATINGS, "ratings:v1", "ratings:v1",
                 id="virtual-service-ratings-test-abort"),
    pytest.param(splits("ratings", "jason", "v1", ("v1", None), fault=DELAY), RATINGS, "ratings:v1", "ratings:v1",
                 id="virtual-service-ratings-test-delay"),
    pytest.param(sends("reviews", ("v1", 50), ("v3", 50)), REVIEWS, {"reviews:v1": 50, "reviews:v3": 50},
                 {"reviews:v1": 50, "reviews:v3": 50}, id="virtual-service-reviews-50-v3"),
    pytest.param(sends("reviews", ("v1", 80), ("v2", 20)), REVIEWS, {"reviews:v1": 80, "reviews:v2": 20},
                 {"reviews:v1": 80, "reviews:v2": 20}, id="virtual-service-reviews-80-20"),
    pytest.param(sends("reviews", ("v1", 90), ("v2", 10)), REVIEWS, {"reviews:v1": 90, "reviews:v2": 10},
                 {"reviews:v1": 90, "reviews:v2": 10}, id="virtual-service-reviews-90-10"),
    pytest.param(splits("reviews", "jason", "v2", ("v3", None)), REVIEWS, "reviews:v3", "reviews:v2",
                 id="virtual-service-reviews-jason-v2-v3"),
    pytest.param(splits("reviews", "jason", "v2", ("v1", None)), REVIEWS, "reviews:v1", "reviews:v2",
                 id="virtual-service-reviews-test-v2"),
    pytest.param(sends("reviews", ("v2", 50), ("v3", 50)), REVIEWS, {"reviews:v2": 50, "reviews:v3": 50},
                 {"reviews:v2": 50, "reviews:v3": 50}, id="virtual-service-reviews-v2-v3"),
    pytest.param(sends("reviews", ("v3", None)), REVIEWS, "reviews:v3", "reviews:v3", id="virtual-service-reviews-v3"),
    pytest.param(OUTSIDE, "http://www.example.com:443/", "www.example.com", "www.example.com", id="egress-rule"),
    pytest.param(BROKEN_DETAILS, "http://details:9080/details/0", "details:v1", "details:v1",
                 id="fault-injection-details-v1"),
    pytest.param(BOOKINFO_GATEWAY, REVIEWS, "reviews", "reviews", id="bookinfo-gateway"),
    pytest.param(edge("bookinfo2", "ingressgateway2", "default", PATHS, "productpage", 9080), REVIEWS, "reviews",
                 "reviews", id="bookinfo-gateway2"),
]  # fmt: skip


def applied(before: World, text: str) -> World:
    rules = parsed(text)
    assert rules.ok, [str(v) for v in rules.violations]
    errors = [str(v) for v in analyze(before, Parsed(rules.resources)) if v.severity == "error"]
    assert errors == []
    return before.with_resources(rules.resources)


def simulated(world: World, name: str) -> Simulation:
    return simulate(translate(world, MeshSettings(root_pem=ROOT_PEM)).mesh, proxy(name))


@pytest.mark.parametrize(("text", "url", "anyone", "jason"), CASES)
def test_each_rule_does_what_its_name_says(text: str, url: str, anyone: object, jason: object) -> None:
    after = applied(applied(world(), all_destinations()), text)
    simulation = simulated(after, "productpage-v1")
    assert simulation.where(url) == anyone
    assert simulation.where(url, end_user="jason") == jason


def test_all_of_them_apply_one_after_the_other() -> None:
    state = world()
    mesh = translate(state).mesh
    for case in CASES:
        state = applied(state, str(case.values[0]))
        mesh = translate(state, MeshSettings(root_pem=ROOT_PEM)).mesh
        for workload in WORKLOADS:
            assert check(generate(mesh, proxy(workload.name))) == []
    assert len(mesh.routes) == 6


def test_the_gateways_of_two_namespaces_share_one_port() -> None:
    acme = edge("cert-manager", "ingressgateway", "istio-system",
                "    - uri:\n        prefix: /.well-known/acme-challenge/\n", "resolver", 8089)  # fmt: skip
    resolver = """apiVersion: v1
kind: Service
metadata: {name: resolver, namespace: istio-system}
spec: {ports: [{port: 8089, name: http}], selector: {app: resolver}}
"""
    simulation = simulated(applied(applied(world(), BOOKINFO_GATEWAY), acme + "---\n" + resolver), "ingress")
    assert simulation.where("http://localhost/productpage", table="http.80") == "productpage"
    assert (
        simulation.where("http://localhost/.well-known/acme-challenge/x", table="http.80")
        == "resolver.istio-system.svc.cluster.local"
    )
    assert simulation.where("http://localhost/other", table="http.80") is None


def test_rules_in_the_wrong_order_are_told_what_is_missing() -> None:
    findings = analyze(world(), parsed(ALL_V1))
    assert len(findings) == 4
    assert all("apply one first, or in the same call" in v.message and v.severity == "error" for v in findings)
