"""Names of containers, volumes, files, ports, labels and annotations that the injector, the sidecar, the control plane
and the manifests agree on."""

PROXY = "remora-proxy"
INIT = "remora-init"
VALIDATION = "remora-validation"
"""In the place of INIT where the node agent captures: waits until it has."""

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
TEMPLATES = "inject.istio.io/templates"
PROXY_CONFIG = "proxy.istio.io/config"
REWRITE_PROBES = "sidecar.istio.io/rewriteAppHTTPProbers"
TRAFFIC = "traffic.sidecar.istio.io/"

TLS_MODE = "security.istio.io/tlsMode"
CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"

UID = 1337
"""Of the sidecar's processes, user and group; what they send is not captured."""
VALIDATION_UID = 1338
"""Of VALIDATION, user and group: what it sends is captured, as the application's is."""

ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, METRICS_PORT, READINESS_PORT = 15000, 15001, 15006, 15020, 15021
OWN_PORTS = frozenset({ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, METRICS_PORT, READINESS_PORT})
"""Where the sidecar itself listens."""
BYPASSED_PORTS = frozenset({15008, 15090})
"""Never captured either: other parts of a mesh are expected there."""

TOKEN_VOLUME, TOKEN_DIRECTORY, TOKEN_FILE = "remora-token", "/var/run/secrets/tokens", "remora-token"
TOKEN_AUDIENCE = "remora-ca"  # noqa: S105 - a name
TOKEN_LIFETIME_S = 43_200
ROOT_VOLUME, ROOT_CONFIG_MAP, ROOT_DIRECTORY, ROOT_FILE = (
    "remora-ca-root-cert",
    "remora-ca-root-cert",
    "/var/run/secrets/remora",
    "root.pem",
)
POD_VOLUME, POD_DIRECTORY = "remora-pod", "/etc/remora/pod"
SCRATCH_VOLUME, SCRATCH_DIRECTORY = "remora-tmp", "/tmp"  # noqa: S108 - a volume of its own

APP_PROBES = "REMORA_APP_PROBES"
