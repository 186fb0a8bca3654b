"""What a user may set about an installation: the names of values.yaml and of `--set`, with their defaults.

Nothing here changes what was written: the chart's templates get it as it is. A field that appears inside other text
has a pattern without quotes.
"""

from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from control.api.model import Model, wrong
from control.api.scalars import Bool, Int, Labels, PortNumber, Str

_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_DOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_IMAGE = r"^[a-z0-9]([-a-z0-9._:/]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$"
_QUANTITY = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_DURATION = r"^[0-9]{1,6}(ms|s|m|h)$"
_CIDR = r"^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$"
_URL = r"^https?://[^\s\"'\\{}?#]{1,500}$"
_ITEMS = r"^(\*|[A-Za-z0-9_.:/, -]*)$"
_CLUSTER = r"^[A-Za-z0-9]([-A-Za-z0-9.]{0,61}[A-Za-z0-9])?$"
_BYTES = r"^[0-9]{1,9}(MiB|GiB|TiB)$"

Name = Annotated[Str, Field(pattern=_NAME)]
NameOrNone = Annotated[Str, Field(pattern=rf"{_NAME}|^$")]
Image = Annotated[Str, Field(pattern=_IMAGE, max_length=500)]
Quantity = Annotated[Str, Field(pattern=_QUANTITY)]
Duration = Annotated[Str, Field(pattern=_DURATION)]
Size = Annotated[Str, Field(pattern=_BYTES)]
Cidr = Annotated[Str, Field(pattern=_CIDR)]
Url = Annotated[Str, Field(pattern=_URL)]
Annotations = Annotated[dict[Str, Str], Field(max_length=64)]
Replicas = Annotated[Int, Field(ge=1, le=100)]
LogLevel = Literal["debug", "info", "warning", "error"]
Items = Annotated[Str, Field(pattern=_ITEMS, max_length=4096)]
Open = Annotated[list[dict[Str, Any]], Field(max_length=64)]
"""Entries of Kubernetes' own shape, which its API server judges."""


class Resources(Model):
    """A container's requests and limits, as Kubernetes writes them."""

    requests: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = Field(default_factory=dict)
    limits: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = Field(default_factory=dict)


class Placement(Model):
    """On which nodes pods run."""

    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Open = Field(default_factory=list)
    """Taints that the pods put up with, as in a pod's spec."""
    priority_class_name: Annotated[Str, Field(pattern=rf"{_DOMAIN}|^$")] = ""
    """A PriorityClass; empty: the cluster's default."""


class Autoscaling(Model):
    """A HorizontalPodAutoscaler by CPU. It needs the cluster's metrics server."""

    enabled: Bool = True
    """False: the number of replicas is what `replicas` says."""
    min_replicas: Replicas = 2
    """Never fewer."""
    max_replicas: Replicas = 5
    """Never more."""
    target_cpu_percent: Annotated[Int, Field(ge=1, le=100)] = 80
    """Of what the containers request, on average."""

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.min_replicas > self.max_replicas:
            raise wrong(f"has minReplicas {self.min_replicas} above maxReplicas {self.max_replicas}; raise the latter")
        return self


class Control(Model):
    """The control plane."""

    replicas: Replicas = 2
    """Without autoscaling. All serve; one, by a Lease, does what must be single."""
    autoscaling: Autoscaling = Autoscaling()
    resources: Resources = Resources(
        requests={"cpu": "200m", "memory": "256Mi"}, limits={"memory": "1536Mi", "ephemeral-storage": "1Gi"}
    )
    placement: Placement = Placement()
    log_level: LogLevel = "info"
    writes_rules: Bool = False
    """Let it write rules for `remora apply`; people who apply with kubectl need none of that."""
    other_clusters: Bool = False
    """Let it read the Secrets of remora-system, and join the clusters that those labelled remora.io/cluster tell of."""
    certificate_lifetime_seconds: Annotated[Int, Field(ge=600, le=604_800)] = 86_400
    """Of workloads' certificates; renewed at half of it."""


class SidecarResources(Model):
    """A sidecar's requests and limits, as Kubernetes writes them."""

    requests: dict[Literal["cpu", "memory"], Quantity] = Field(default_factory=dict)
    limits: dict[Literal["cpu", "memory"], Quantity] = Field(default_factory=dict)


class Capture(Model):
    """Which traffic goes by way of the sidecar: the texts of the annotations traffic.sidecar.istio.io/*."""

    include_inbound_ports: Items = "*"
    exclude_inbound_ports: Items = ""
    include_outbound_ports: Items = ""
    """Captured whatever their destination is."""
    exclude_outbound_ports: Items = ""
    include_outbound_ip_ranges: Items = Field(default="*", alias="includeOutboundIPRanges")
    exclude_outbound_ip_ranges: Items = Field(default="", alias="excludeOutboundIPRanges")
    exclude_interfaces: Items = ""


class Sidecar(Model):
    """What an injected sidecar gets where no annotation of its pod says otherwise."""

    native: Bool = True
    """Sidecars as init containers that keep running: Kubernetes 1.29 and later. False: ordinary containers."""
    resources: SidecarResources = SidecarResources(
        requests={"cpu": "50m", "memory": "96Mi"}, limits={"memory": "512Mi"}
    )
    log_level: LogLevel = "info"
    concurrency: Annotated[Int, Field(ge=1, le=64)] = 1
    """Worker processes."""
    hold_application_until_proxy_starts: Bool = True
    """Of ordinary containers; a native sidecar always starts first."""
    rewrite_app_http_probers: Annotated[Bool, Field(alias="rewriteAppHTTPProbers")] = True
    """Probes go by way of the sidecar: the kubelet has no certificate of the mesh."""
    merge_metrics: Bool = True
    """Prometheus is pointed at the sidecar, which adds the application's metrics to its own."""
    termination_drain_duration: Duration = "5s"
    """For requests under way when the pod ends."""
    capture: Capture = Capture()
    capture_dns: Bool = False
    """The application's DNS questions go to the sidecar, which knows the mesh's names."""
    templates: Annotated[dict[Name, Str], Field(max_length=32)] = Field(default_factory=dict)
    """Partial pods as YAML, merged over the sidecar for pods that name them in inject.istio.io/templates."""
    default_templates: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(
        default_factory=lambda: ["sidecar"]
    )
    """For pods that name none."""


class Cni(Model):
    """A node agent captures pods' traffic: none of them needs an init container with privileges."""

    enabled: Bool = False
    """True: a DaemonSet in the namespace remora-node, and remora-validation in pods, which waits for it."""
    resources: Resources = Resources(
        requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "384Mi", "ephemeral-storage": "64Mi"}
    )
    placement: Placement = Placement.model_validate(
        {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
        }
    )
    """It has to be on every node that pods of the mesh may be on."""
    log_level: LogLevel = "info"


class Storage(Model):
    """A volume of the collector's."""

    size: Quantity = "10Gi"
    """Of the PersistentVolumeClaim: buffers in front of back ends, and the embedded store."""
    class_name: Annotated[Str, Field(pattern=rf"{_DOMAIN}|^$")] = ""
    """StorageClass; empty: the cluster's default."""


class Elasticsearch(Model):
    """Where logs and traces go besides."""

    urls: Annotated[list[Url], Field(max_length=16)] = Field(default_factory=list)
    """Empty: nowhere."""
    api_key_secret: NameOrNone = ""
    """A Secret in remora-system whose key `api-key` is an API key in its encoded form."""
    ca_secret: NameOrNone = ""
    """A Secret in remora-system whose key `ca.crt` has the authorities to trust; empty: the image's."""
    namespace: Name = "default"
    """Last word of the data streams' names."""

    @model_validator(mode="after")
    def _secrets_are_for_something(self) -> "Elasticsearch":
        if not self.urls and (self.api_key_secret or self.ca_secret):
            raise wrong("has apiKeySecret or caSecret without urls; write urls, or remove them")
        if self.api_key_secret and any(url.startswith("http:") for url in self.urls):
            raise wrong("has apiKeySecret and a url of http, which would tell everyone the key; write https")
        return self


class RemoteWrite(Model):
    """Prometheus' remote write: where metrics go besides."""

    url: Annotated[Str, Field(pattern=rf"{_URL}|^$")] = ""
    """Empty: nowhere."""


class Collector(Model):
    """The collector of logs, traces and metrics."""

    enabled: Bool = True
    resources: Resources = Resources(
        requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi", "ephemeral-storage": "1Gi"}
    )
    placement: Placement = Placement()
    log_level: LogLevel = "info"
    storage: Storage = Storage()
    retention: Duration = "24h"
    """How long the embedded store keeps records."""
    max_store_bytes: Size = "1GiB"
    """Beyond it the store deletes the oldest."""
    scrape_interval_seconds: Annotated[Int, Field(ge=1, le=300)] = 15
    """How often it reads each sidecar's metrics: autoscaling and `remora graph` see what is newer that much later."""
    elasticsearch: Elasticsearch = Elasticsearch()
    remote_write: RemoteWrite = RemoteWrite()


class Console(Model):
    """The web console, in the collector's pod, on loopback: see docs/kubernetes.md."""

    enabled: Bool = True
    edit_rules: Bool = False
    """Whoever reaches it may change rules of every namespace, which the control plane may write then. False: it shows
    and validates them."""
    resources: Resources = Resources(
        requests={"cpu": "10m", "memory": "128Mi"}, limits={"memory": "512Mi", "ephemeral-storage": "64Mi"}
    )


class GatewayPort(Model):
    """A port that the gateway's Service shows; a Gateway resource says what is answered on it."""

    name: Name
    port: PortNumber
    node_port: Annotated[Int, Field(ge=0, le=32_767)] = 0
    """With type NodePort or LoadBalancer; 0: the cluster chooses."""


class GatewayService(Model):
    """How the gateway is reached from outside."""

    type: Literal["LoadBalancer", "NodePort", "ClusterIP"] = "LoadBalancer"
    annotations: Annotations = Field(default_factory=dict)
    """For the cloud's load balancer."""
    load_balancer_source_ranges: Annotated[list[Cidr], Field(max_length=64)] = Field(default_factory=list)
    """Who may connect; empty: everyone."""
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    """Local: clients' addresses are kept, by nodes with a gateway alone."""
    ports: Annotated[list[GatewayPort], Field(min_length=1, max_length=32)] = Field(
        default_factory=lambda: [GatewayPort(name="http", port=80), GatewayPort(name="https", port=443)]
    )

    @field_validator("ports")
    @classmethod
    def _distinct(cls, ports: list[GatewayPort]) -> list[GatewayPort]:
        for words in ([port.name for port in ports], [port.port for port in ports]):
            if len(set(words)) < len(words):
                raise wrong(f"has a name or a number twice: {words}; each port has its own")
        return ports


class Gateway(Model):
    """The ingress gateway."""

    enabled: Bool = True
    replicas: Replicas = 2
    """Without autoscaling."""
    autoscaling: Autoscaling = Autoscaling()
    resources: Resources = Resources(
        requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "1Gi", "ephemeral-storage": "256Mi"}
    )
    placement: Placement = Placement()
    log_level: LogLevel = "info"
    concurrency: Annotated[Int, Field(ge=1, le=64)] = 1
    """Worker processes of a pod."""
    service: GatewayService = GatewayService()
    tls_secrets: Annotated[list[Name], Field(max_length=256)] = Field(default_factory=list)
    """Secrets of remora-system that Gateways name by credentialName: the control plane may read these and no others."""


class Injection(Model):
    """The webhook that puts sidecars into pods."""

    enabled: Bool = True
    timeout_seconds: Annotated[Int, Field(ge=1, le=30)] = 10


class Validation(Model):
    """The webhook that refuses bad rules."""

    enabled: Bool = True
    timeout_seconds: Annotated[Int, Field(ge=1, le=30)] = 10
    unlabelled_namespaces: Bool = True
    """Rules in namespaces that are not in the mesh are looked at, too, as long as the control plane answers. False:
    never, for clusters where Istio has namespaces of its own."""


class NetworkPolicies(Model):
    """Who may connect to the mesh's own pods."""

    enabled: Bool = True
    monitoring_namespaces: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=lambda: ["monitoring"])
    """Whose pods may read metrics, besides those of remora-system."""


class CustomMetrics(Model):
    """The custom.metrics.k8s.io API for HorizontalPodAutoscalers."""

    enabled: Bool = False
    prometheus: Annotated[Str, Field(pattern=rf"{_URL}|^$")] = ""
    """A Prometheus that scrapes the mesh; empty: the collector's store is read, in its pod."""
    replicas: Replicas = 2
    """With a Prometheus."""
    resources: Resources = Resources(
        requests={"cpu": "50m", "memory": "96Mi"}, limits={"memory": "512Mi", "ephemeral-storage": "256Mi"}
    )
    placement: Placement = Placement()


class Values(Model):
    """Every value."""

    image: Image = "remora/remora:" + version("remora")
    """Of every container: sidecar, init container, control plane, collector, gateway."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=list)
    """Secrets in remora-system, for its own pods."""
    revision: NameOrNone = ""
    """Empty, or the name of a further control plane beside the first, for canary upgrades."""
    trust_domain: Annotated[Str, Field(pattern=_DOMAIN, max_length=253)] = "cluster.local"
    cluster_id: Annotated[Str, Field(pattern=_CLUSTER)] = "Kubernetes"
    """This cluster's name, in metrics and to other clusters of the mesh."""
    trace_sampling_percent: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Of requests that arrive without a decision."""
    access_log: Bool = True
    """Have sidecars record every request."""
    outbound_traffic_policy: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"
    """Where pods' connections to nobody of the mesh go: on, or nowhere. As in Istio's MeshConfig; what is to be reached
    then has a Service or a ServiceEntry."""
    take_istios_place: Bool = False
    """Heed `istio-injection: enabled` and `istio.io/rev`, too. Not while Istio's own injector is there."""
    create_namespace: Bool = True
    """False for `helm install --create-namespace`, which makes remora-system by itself."""
    control: Control = Control()
    sidecar: Sidecar = Sidecar()
    cni: Cni = Cni()
    collector: Collector = Collector()
    console: Console = Console()
    gateway: Gateway = Gateway()
    injection: Injection = Injection()
    validation: Validation = Validation()
    network_policies: NetworkPolicies = NetworkPolicies()
    custom_metrics: CustomMetrics = CustomMetrics()

    @field_validator("revision")
    @classmethod
    def _short(cls, value: str) -> str:
        if len(value) > 40:  # remora-control-REVISION is a label's value and a name in DNS
            raise wrong(f"has {len(value)} characters; a revision has at most 40")
        return value

    @model_validator(mode="after")
    def _rules_are_edited_somewhere(self) -> "Values":
        if self.console.edit_rules and not (self.console.enabled and self.collector.enabled):
            raise wrong("has console.editRules without a console; enable console and collector, or remove it")
        return self

    @model_validator(mode="after")
    def _metrics_come_from_somewhere(self) -> "Values":
        if self.custom_metrics.enabled and not (self.custom_metrics.prometheus or self.collector.enabled):
            raise wrong("has customMetrics.enabled without a collector; write customMetrics.prometheus")
        return self

    def plain(self) -> dict[str, Any]:
        """As values.yaml has it."""
        return self.model_dump(mode="json", by_alias=True)
