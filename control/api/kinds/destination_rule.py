"""`networking.istio.io` DestinationRule: versions of a service, and how connections to it are made."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from control.api.kinds.export import ExportTo
from control.api.kinds.http_action import PortSelector
from control.api.model import ConsecutiveErrors, Model, Unsupported, wrong
from control.api.scalars import (
    Count,
    HostPattern,
    Int,
    Labels,
    PositiveCount,
    PositiveDuration,
    Str,
    Subdomain,
    duration_schema,
)

MAX_PROBES = 127
MAX_KEEPALIVE_S = 32_767
"""Linux's bounds."""


def _whole_seconds(value: float) -> float:
    if value != int(value) or value > MAX_KEEPALIVE_S:
        raise wrong(f"is {value:g}s; the kernel takes whole seconds, at most {MAX_KEEPALIVE_S}s")
    return value


KeepAliveTime = Annotated[
    PositiveDuration,
    AfterValidator(_whole_seconds),
    WithJsonSchema(
        duration_schema(
            f"duration(self) >= duration('1s') && duration(self) <= duration('{MAX_KEEPALIVE_S}s') &&"
            " duration(self).getMilliseconds() % 1000 == 0",
            f"is of whole seconds, 1s to {MAX_KEEPALIVE_S}s",
        )
    ),
]


def _some_percent(value: int) -> int:
    if not value:
        raise wrong("is 0, which Istio takes for its default, 10; write 1 to 100, or remove it")
    return value


class RegionFailover(Model):
    """Where clients of a region go when it has no instance."""

    from_: Annotated[Str, Field(min_length=1, max_length=63)] = Field(alias="from")
    """The clients' region."""
    to: Annotated[Str, Field(min_length=1, max_length=63)]
    """The region whose instances come next; all others come after it."""


class LocalityLbSetting(Model):
    """Whether clients use the nearest instances alone: of their subzone, else zone, else region, else any."""

    enabled: bool = True
    """False: all instances alike, also where a service has instances in several clusters."""
    failover: tuple[RegionFailover, ...] = Field(default=(), max_length=16)
    """Which region is next when the own one has no instance."""
    distribute: Unsupported = None
    failover_priority: Unsupported = None

    @field_validator("failover")
    @classmethod
    def _other_regions(cls, failover: tuple[RegionFailover, ...]) -> tuple[RegionFailover, ...]:
        said = [each.from_ for each in failover]
        for each in failover:
            if each.from_ == each.to:
                raise wrong(f"goes from {each.from_!r} to itself; write another region")
            if said.count(each.from_) > 1:
                raise wrong(f"has region {each.from_!r} twice; write one entry a region")
        return failover


class LoadBalancer(Model):
    """How an endpoint is chosen."""

    simple: Literal["UNSPECIFIED", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN"] | None = None
    """The way."""
    consistent_hash: Unsupported = None
    locality_lb_setting: LocalityLbSetting | None = None
    """Whether the nearest endpoints are preferred; the default is so where a service is in several clusters."""
    warmup: Unsupported = None
    warmup_duration_secs: Unsupported = None


class TcpKeepalive(Model):
    """The kernel's questions on silent connections; what is left out, or 0, is the system's setting."""

    probes: Annotated[Int, Field(ge=0, le=MAX_PROBES)] = 0
    """Without an answer, before a connection counts as dead."""
    time: KeepAliveTime | None = None
    """Of silence before the first."""
    interval: KeepAliveTime | None = None
    """Between two."""


class TcpPool(Model):
    """Connections."""

    max_connections: PositiveCount | None = None
    """To each endpoint."""
    connect_timeout: PositiveDuration | None = None
    """For a connection to be there."""
    tcp_keepalive: TcpKeepalive | None = None
    """The kernel's questions on silent connections."""
    max_connection_duration: Unsupported = None
    idle_timeout: Unsupported = None


class HttpPool(Model):
    """Requests."""

    http1_max_pending_requests: PositiveCount | None = Field(default=None, alias="http1MaxPendingRequests")
    """That wait for a connection."""
    http2_max_requests: PositiveCount | None = Field(default=None, alias="http2MaxRequests")
    """At once."""
    max_requests_per_connection: Annotated[Int, Field(ge=0, le=2**31 - 1)] | None = None
    """Before it is closed; 0: any number."""
    max_retries: Annotated[Int, Field(ge=0, le=2**31 - 1)] | None = None
    """At once."""
    idle_timeout: PositiveDuration | None = None
    """Of a connection without requests."""
    h2_upgrade_policy: Unsupported = Field(default=None, alias="h2UpgradePolicy")
    use_client_protocol: Unsupported = None
    max_concurrent_streams: Unsupported = None


class ConnectionPool(Model):
    """Circuit breakers and timeouts."""

    tcp: TcpPool | None = None
    """Of connections."""
    http: HttpPool | None = None
    """Of requests."""


class ClientTls(Model):
    """TLS towards the service."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    """ISTIO_MUTUAL: mutual TLS with certificates of the mesh."""
    sni: Str | None = None
    """Server name to ask for, with SIMPLE."""
    subject_alt_names: tuple[Str, ...] = Field(default=(), max_length=64)
    """Names that the server's certificate must have one of, with SIMPLE."""
    client_certificate: Unsupported = None
    private_key: Unsupported = None
    ca_certificates: Unsupported = None
    ca_crl: Unsupported = None
    credential_name: Unsupported = None
    insecure_skip_verify: Unsupported = None

    @field_validator("mode")
    @classmethod
    def _supported(cls, value: str) -> str:
        if value == "MUTUAL":
            raise wrong("is MUTUAL, which is not supported by Remora yet; within the mesh write ISTIO_MUTUAL")
        return value

    @model_validator(mode="after")
    def _names_need_simple(self) -> "ClientTls":
        if self.mode != "SIMPLE" and (self.sni or self.subject_alt_names):
            raise wrong(f"has sni or subjectAltNames, which {self.mode} does not use; remove them")
        return self


class OutlierDetection(Model):
    """When an instance that fails is left out for a while. A count of 0: never."""

    consecutive_5xx_errors: Count | None = Field(default=None, alias="consecutive5xxErrors")
    """Answers of 500 and above in a row, failed connections included; 5 where nothing is said."""
    consecutive_gateway_errors: Count | None = None
    """Answers of 502, 503 and 504 in a row, failed connections included; never where nothing is said."""
    split_external_local_origin_errors: bool = False
    """Failed connections and lost answers are counted by themselves."""
    consecutive_local_origin_failures: PositiveCount | None = None
    """So many of those in a row, where they are; 5 where nothing is said."""
    interval: PositiveDuration | None = None
    """How often those come back whose time is over; 10s where nothing is said."""
    base_ejection_time: PositiveDuration | None = None
    """How long the first time lasts, and how much longer each next one; 30s where nothing is said."""
    max_ejection_percent: Annotated[Int, Field(ge=0, le=100), AfterValidator(_some_percent)] | None = None
    """Of the instances that may be out at once; 10 where nothing is said."""
    min_health_percent: Annotated[Int, Field(ge=0, le=100)] = 0
    """With fewer healthy instances than that, all are used, healthy or not; 0: never."""
    consecutive_errors: ConsecutiveErrors = None

    @model_validator(mode="after")
    def _local_needs_split(self) -> "OutlierDetection":
        if self.consecutive_local_origin_failures is not None and not self.split_external_local_origin_errors:
            raise wrong(
                "has consecutiveLocalOriginFailures, which counts only with splitExternalLocalOriginErrors: true;"
                " write that too, or remove it"
            )
        return self


class PortPolicy(Model):
    """A policy for one port. It replaces the policy around it whole: what it leaves out is the default, as in Istio."""

    port: PortSelector
    """Which."""
    load_balancer: LoadBalancer | None = None
    """How an endpoint is chosen."""
    connection_pool: ConnectionPool | None = None
    """Limits and timeouts."""
    tls: ClientTls | None = None
    """TLS towards the service."""
    outlier_detection: OutlierDetection | None = None
    """When an instance that fails is left out."""


class TrafficPolicy(Model):
    """How connections are made."""

    load_balancer: LoadBalancer | None = None
    """How an endpoint is chosen."""
    connection_pool: ConnectionPool | None = None
    """Limits and timeouts."""
    tls: ClientTls | None = None
    """TLS towards the service."""
    port_level_settings: tuple[PortPolicy, ...] = Field(default=(), max_length=64)
    """Policies of single ports."""
    outlier_detection: OutlierDetection | None = None
    """When an instance that fails is left out."""
    tunnel: Unsupported = None
    proxy_protocol: Unsupported = None
    retry_budget: Unsupported = None

    @field_validator("port_level_settings")
    @classmethod
    def _distinct(cls, settings: tuple[PortPolicy, ...]) -> tuple[PortPolicy, ...]:
        numbers = [setting.port.number for setting in settings]
        for number in numbers:
            if numbers.count(number) > 1:
                raise wrong(f"has port {number} twice; write one entry a port")
        return settings


class Subset(Model):
    """A version of the service: the workloads with these labels."""

    name: Subdomain
    """What routes call it."""
    labels: Labels = Field(max_length=64, default_factory=dict)
    """That its workloads have."""
    traffic_policy: TrafficPolicy | None = None
    """In place of the rule's, for this version."""


class DestinationRuleSpec(Model):
    """`spec`."""

    host: HostPattern
    """The service."""
    traffic_policy: TrafficPolicy | None = None
    """For all versions."""
    subsets: tuple[Subset, ...] = Field(default=(), max_length=256)
    """Versions, for routes to refer to."""
    export_to: ExportTo = ("*",)
    """Who sees it: everyone, as yet."""
    workload_selector: Unsupported = None

    @field_validator("subsets")
    @classmethod
    def _distinct(cls, subsets: tuple[Subset, ...]) -> tuple[Subset, ...]:
        names = [subset.name for subset in subsets]
        for name in names:
            if names.count(name) > 1:
                raise wrong(f"defines {name!r} twice; name each subset once")
        return subsets

    @field_validator("host")
    @classmethod
    def _one_host(cls, value: str) -> str:
        if value.startswith("*"):
            raise wrong(f"is {value!r}; wildcard hosts are not supported by Remora yet: write one rule a service")
        return value
