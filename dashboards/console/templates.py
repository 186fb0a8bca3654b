"""Rules to start from, as YAML a user edits. Bookinfo's names, so that each of them works as it stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """A starting point for a rule."""

    title: str
    icon: str
    """Name of a Material icon."""
    yaml: str


TEMPLATES: tuple[Template, ...] = (
    Template(
        "Split traffic by weight",
        "call_split",
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
  - reviews
  http:
  - route:
    - destination:
        host: reviews
        subset: v1
      weight: 80
    - destination:
        host: reviews
        subset: v3
      weight: 20
""",
    ),
    Template(
        "Route by header",
        "alt_route",
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1
""",
    ),
    Template(
        "Timeout and retries",
        "timer",
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ratings
  namespace: default
spec:
  hosts:
  - ratings
  http:
  - timeout: 2s
    retries:
      attempts: 2
      perTryTimeout: 500ms
      retryOn: connect-failure,refused-stream,unavailable
    route:
    - destination:
        host: ratings
""",
    ),
    Template(
        "Inject delays and faults",
        "bug_report",
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ratings
  namespace: default
spec:
  hosts:
  - ratings
  http:
  - fault:
      delay:
        percentage:
          value: 10
        fixedDelay: 2s
      abort:
        percentage:
          value: 5
        httpStatus: 503
    route:
    - destination:
        host: ratings
""",
    ),
    Template(
        "Subsets of a service",
        "category",
        """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: default
spec:
  host: reviews
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
  - name: v3
    labels:
      version: v3
""",
    ),
    Template(
        "Limit connections",
        "speed",
        """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: ratings
  namespace: default
spec:
  host: ratings
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
    connectionPool:
      tcp:
        maxConnections: 100
      http:
        http1MaxPendingRequests: 100
""",
    ),
    Template(
        "Require mutual TLS",
        "lock",
        """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: default
spec:
  mtls:
    mode: STRICT
""",
    ),
)
