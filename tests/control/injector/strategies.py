"""Pods that an API server would take, and settings, for Hypothesis."""

from typing import Any

from hypothesis import strategies as st

from control.injector import InjectorSettings

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
PORTS = st.integers(1, 14_999)
KEYS = st.from_regex(r"(x\.example/)?[a-z]([-a-z0-9_.~]{0,6}[a-z0-9])?", fullmatch=True)

LABEL_VALUES = st.from_regex(r"([a-z0-9]([-a-z0-9_.]{0,6}[a-z0-9])?)?", fullmatch=True)
ANNOTATIONS = st.dictionaries(KEYS, TEXT, max_size=3)
HONOURED = st.fixed_dictionaries(
    {},
    optional={
        "sidecar.istio.io/proxyCPU": st.sampled_from(["10m", "0.5"]),
        "sidecar.istio.io/logLevel": st.sampled_from(["debug", "trace"]),
        "sidecar.istio.io/rewriteAppHTTPProbers": st.sampled_from(["true", "false"]),
        "traffic.sidecar.istio.io/excludeOutboundPorts": st.sampled_from(["", "22", "3306,1-9"]),
        "traffic.sidecar.istio.io/includeOutboundIPRanges": st.sampled_from(["*", "10.0.0.0/8"]),
        "proxy.istio.io/config": st.sampled_from(["concurrency: 2", "terminationDrainDuration: 40s"]),
        "prometheus.io/scrape": st.sampled_from(["true", "false"]),
        "prometheus.io/port": st.sampled_from(["80", "15020"]),
    },
)


def optional(**fields: Any) -> Any:
    """A mapping with some of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


HEADERS = st.lists(st.fixed_dictionaries({"name": st.sampled_from(["A", "Host", "x-y"]), "value": LINE}), max_size=2)
HTTP = st.builds(
    lambda port, rest: {**rest, "port": port},
    PORTS | st.sampled_from(["main", "8080"]),
    optional(
        path=LINE.map("/".__add__), scheme=st.sampled_from(["HTTP", "HTTPS"]), host=st.just("h.example"),
        httpHeaders=HEADERS | st.none(),
    ),
)  # fmt: skip
TCP = st.fixed_dictionaries({"port": PORTS | st.just("main")}, optional={"host": st.just("::1")})
GRPC = st.fixed_dictionaries({"port": PORTS}, optional={"service": st.text("a.$(", max_size=5)})
EXEC = st.fixed_dictionaries({"command": st.lists(TEXT, max_size=2)})
ACTIONS = (
    st.fixed_dictionaries({"httpGet": HTTP})
    | st.fixed_dictionaries({"tcpSocket": TCP})
    | st.fixed_dictionaries({"exec": EXEC})
)
TIMES = optional(periodSeconds=st.integers(1, 9), timeoutSeconds=st.integers(1, 9), failureThreshold=st.integers(1, 9))
PROBES = st.builds(
    lambda action, times, first: {**times, **action} if first else {**action, **times},
    ACTIONS | st.fixed_dictionaries({"grpc": GRPC}),
    TIMES,
    st.booleans(),
)
CONTEXTS = optional(
    runAsUser=st.integers(0, 1336), runAsNonRoot=st.booleans(), readOnlyRootFilesystem=st.booleans() | st.none()
)


@st.composite
def containers(draw: Any, initial: bool) -> dict[str, Any]:
    """Without a name yet; one of its ports is called `main`."""
    container: dict[str, Any] = {"image": draw(NAMES)}
    ports = [
        {"name": "main", "containerPort": draw(PORTS)},
        *({"containerPort": each} for each in draw(st.lists(PORTS, max_size=2))),
    ]
    container["ports"] = ports
    for field, values in {
        "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": TEXT}), max_size=2),
        "args": st.lists(TEXT, max_size=2),
        "securityContext": CONTEXTS | st.none(),
        "command": st.none() | st.lists(TEXT, min_size=1, max_size=2),
    }.items():
        if draw(st.booleans()):
            container[field] = draw(values)
    if initial and not draw(st.booleans()):
        return container
    if initial:
        container["restartPolicy"] = "Always"
    for field, values in {
        "livenessProbe": PROBES,
        "readinessProbe": PROBES | st.none(),
        "startupProbe": PROBES,
        "lifecycle": optional(postStart=ACTIONS, preStop=ACTIONS | st.none()),
    }.items():
        if draw(st.booleans()):
            container[field] = draw(values)
    return container


@st.composite
def pods(draw: Any) -> dict[str, Any]:
    """Valid, without a sidecar, with or without much else."""
    names = draw(st.lists(NAMES, min_size=7, max_size=7, unique=True))
    spec: dict[str, Any] = {}
    if draw(st.booleans()):
        several = draw(st.lists(containers(True), max_size=2))
        spec["initContainers"] = [{"name": name, **each} for name, each in zip(names, several, strict=False)] or None
    several = draw(st.lists(containers(False), min_size=1, max_size=3))
    spec["containers"] = [{"name": name, **each} for name, each in zip(names[2:], several, strict=False)]
    volumes = [{"name": name, "emptyDir": {}} for name in names[5:]]
    for field, values in {
        "volumes": st.sampled_from([None, [], volumes]),
        "imagePullSecrets": st.lists(
            st.fixed_dictionaries({"name": NAMES}), max_size=2, unique_by=lambda each: each["name"]
        ),
        "restartPolicy": st.sampled_from(["Always", "Never", "OnFailure"]),
        "terminationGracePeriodSeconds": st.integers(0, 90),
        "securityContext": st.none()
        | CONTEXTS.map(lambda each: {k: v for k, v in each.items() if k != "readOnlyRootFilesystem"}),
        "tolerations": st.just([{"key": "a", "operator": "Exists"}]),
        "nodeSelector": st.just({"a": "b"}),
    }.items():
        if draw(st.booleans()):
            spec[field] = draw(values)
    pod: dict[str, Any] = {"spec": spec}
    if draw(st.booleans()):
        pod["metadata"] = metadata = draw(
            optional(name=NAMES, generateName=NAMES, labels=st.none() | st.dictionaries(KEYS, LABEL_VALUES, max_size=2))
        )
        if draw(st.booleans()):
            metadata["annotations"] = draw(st.none() | st.builds(lambda a, b: a | b, ANNOTATIONS, HONOURED))
    if draw(st.booleans()):
        pod = dict(reversed(pod.items()))
    return pod


TEMPLATE = """
metadata: {labels: {team: mesh}, annotations: null}
spec:
  tolerations: [{key: mesh, operator: Exists}]
  hostAliases: [{ip: 192.0.2.1, hostnames: [a]}]
  volumes: [{name: extra, emptyDir: {}}]
  containers: [{name: extra, image: e}]
"""

SETTINGS = st.builds(
    lambda native, cni, hold, templates, secrets: InjectorSettings(
        image="remora/remora:test",
        native_sidecars=native,
        cni=cni,
        hold_application_until_proxy_starts=hold,
        templates={"more": TEMPLATE},
        default_templates=("sidecar", "more") if templates else ("sidecar",),
        image_pull_secrets=("mirror",) if secrets else (),
    ),
    *[st.booleans()] * 5,
)
