"""Rules for tests, in Istio's YAML."""


def all_to(service: str, version: str) -> str:
    """Every request to one version."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {service}}}
spec:
  hosts: [{service}]
  http:
  - route:
    - destination: {{host: {service}, subset: {version}}}
"""


def split(v1: int, v3: int) -> str:
    """Reviews by weight."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {{host: reviews, subset: v1}}
      weight: {v1}
    - destination: {{host: reviews, subset: v3}}
      weight: {v3}
"""


def split_with_jason(v1: int, v3: int) -> str:
    """Reviews by weight, and v2 for one user."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers:
        end-user: {{exact: jason}}
    route:
    - destination: {{host: reviews, subset: v2}}
  - route:
    - destination: {{host: reviews, subset: v1}}
      weight: {v1}
    - destination: {{host: reviews, subset: v3}}
      weight: {v3}
"""


def ratings_fault(kind: str, user: str) -> str:
    """Ratings fail, or take a second, for one user."""
    fault = {
        "abort": "abort: {percentage: {value: 100}, httpStatus: 500}",
        "delay": "delay: {percentage: {value: 100}, fixedDelay: 1s}",
    }[kind]
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: ratings}}
spec:
  hosts: [ratings]
  http:
  - match:
    - headers:
        end-user: {{exact: {user}}}
    fault:
      {fault}
    route:
    - destination: {{host: ratings, subset: v1}}
  - route:
    - destination: {{host: ratings, subset: v1}}
"""


def peer_authentication(mode: str) -> str:
    """Mutual TLS for the whole namespace."""
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec:
  mtls: {{mode: {mode}}}
"""


def _each(services: tuple[str, ...], version: str) -> str:
    return "---\n".join(
        f"apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata:\n  name: {service}\nspec:\n"
        f"  hosts:\n  - {service}\n  http:\n  - route:\n    - destination:\n        host: {service}\n"
        f"        subset: {version}\n"
        for service in services
    )


def _subsets(service: str, versions: tuple[str, ...]) -> str:
    subsets = "".join(f"  - name: {version}\n    labels:\n      version: {version}\n" for version in versions)
    return (
        f"apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata:\n  name: {service}\nspec:\n"
        f"  host: {service}\n  subsets:\n{subsets}"
    )


_DESTINATIONS = "---\n".join(
    (
        _subsets("productpage", ("v1",)),
        _subsets("reviews", ("v1", "v2", "v3")),
        _subsets("ratings", ("v1", "v2", "v2-mysql", "v2-mysql-vm")),
        _subsets("details", ("v1", "v2")),
    )
)

PUBLIC_SERVICES = _each(("productpage", "reviews", "ratings", "details"), "v1")

_GATEWAY = """
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: bookinfo-gateway
spec:
  selector:
    istio: ingressgateway # use istio default controller
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: bookinfo
spec:
  hosts:
  - "*"
  gateways:
  - bookinfo-gateway
  http:
  - match:
    - uri:
        exact: /productpage
    - uri:
        prefix: /static
    - uri:
        exact: /login
    - uri:
        exact: /logout
    - uri:
        prefix: /api/v1/products
    route:
    - destination:
        host: productpage
        port:
          number: 9080
"""

_DELAY = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: ratings
spec:
  hosts:
  - ratings
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    fault:
      delay:
        percent: 100
        fixedDelay: 7s
    route:
    - destination:
        host: ratings
        subset: v1
  - route:
    - destination:
        host: ratings
        subset: v1
"""

PUBLIC_FORMS: tuple[tuple[str, list[str]], ...] = (
    (_GATEWAY, ["Gateway", "VirtualService"]),
    (_DESTINATIONS + "---\n", ["DestinationRule"] * 4),
    (PUBLIC_SERVICES + "---\n", ["VirtualService"] * 4),
    (_DELAY, ["VirtualService"]),
)
"""(text, kinds of the lines that apply prints)."""
