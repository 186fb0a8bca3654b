"""How a mesh injects: what its operator sets, once for all pods, and what is known of a pod's namespace."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from control.api.model import Model, wrong
from control.api.scalars import Bool, DnsLabel, Duration, Int, Str, Subdomain, shorten
from control.injector import quantities, traffic
from control.injector.template_text import TemplateError, parse_template

LOG_LEVELS = ("debug", "info", "warning", "error")

_IMAGE = re.compile(r"(?=.{1,512}\Z)[a-zA-Z0-9][-\w.]*(:[0-9]{1,5})?(/[a-zA-Z0-9][-\w.]*)*(:\w[-\w.]{0,127})?"
                    r"(@[a-z0-9+._-]+:[0-9a-fA-F]{32,128})?\Z", re.ASCII)  # fmt: skip
_AUTHORITY = re.compile(r"(?=.{1,260}\Z)([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})\Z")
_TEMPLATE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")

SIDECAR = "sidecar"
"""Name of the template that is ours."""


def check_image(text: str) -> str:
    """An image's reference as container runtimes take it. Raises ValueError with what would be right."""
    if not _IMAGE.match(text):
        raise ValueError(f"is {shorten(text)}; write an image, such as registry.example.com/remora/remora:1.0")
    return text


def _image(value: str) -> str:
    try:
        return check_image(value)
    except ValueError as error:
        raise wrong(str(error)) from None


def _authority(value: str) -> str:
    match = _AUTHORITY.match(value)
    if value and (match is None or not 0 < int(match[3]) < 65_536):
        raise wrong(f"is {shorten(value)}; write HOST:PORT, such as remora-control.remora-system.svc:15012")
    return value


def _template(value: str) -> str:
    try:
        parse_template(value)
    except TemplateError as error:
        raise wrong(str(error)) from None
    return value


def _own_version() -> str:
    try:
        return version("remora")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "latest"


Image = Annotated[Str, AfterValidator(_image)]
Authority = Annotated[Str, AfterValidator(_authority)]


class Settings(Model):
    """A mapping of the operator's: in files camelCase, in Python by the fields' own names."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Resources(Settings):
    """What the sidecar's container asks for and may use, as Kubernetes writes it."""

    requests: dict[Literal["cpu", "memory"], quantities.Quantity] = Field(default_factory=dict)
    limits: dict[Literal["cpu", "memory"], quantities.Quantity] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> "Resources":
        for name, asked in self.requests.items():
            limit = self.limits.get(name)
            if asked and limit and quantities.parse(asked) > quantities.parse(limit):
                raise wrong(f"requests.{name} is {asked}, more than its limit of {limit}; ask for less or allow more")
        return self


class CaptureSettings(Settings):
    """The defaults of the annotations of the same names."""

    include_inbound_ports: traffic.AllOrPorts = "*"
    exclude_inbound_ports: traffic.Ports = ""
    include_outbound_ports: traffic.AllOrPorts = ""
    """Captured whatever their destination is."""
    exclude_outbound_ports: traffic.Ports = ""
    include_outbound_ip_ranges: Annotated[traffic.AllOrRanges, Field(alias="includeOutboundIPRanges")] = "*"
    exclude_outbound_ip_ranges: Annotated[traffic.Ranges, Field(alias="excludeOutboundIPRanges")] = ""
    exclude_interfaces: traffic.Interfaces = ""


class InjectorSettings(Settings):
    """What `remora install` writes for the webhook, and `remora inject --values` reads."""

    image: Image = Field(default_factory=lambda: f"remora/remora:{_own_version()}")
    """Of the sidecar and of remora-init: one image, other entry points."""
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """Empty: as Kubernetes does for such an image."""
    image_pull_secrets: tuple[Subdomain, ...] = Field(default=(), max_length=16)
    """Names of Secrets in the pod's own namespace."""
    system_namespace: DnsLabel = "remora-system"
    """Where the mesh itself runs; nothing is injected there."""
    revision: Annotated[Str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")] = ""
    """Of the control plane. Empty, or `default`: the one that namespaces without a revision belong to."""
    control_address: Authority = "remora-control.remora-system.svc:15012"
    ca_address: Authority = "remora-control.remora-system.svc:15011"
    collector_forward_address: Authority = "remora-collector.remora-system.svc:24224"
    """Where access records go; empty: nowhere."""
    collector_otlp_address: Authority = "remora-collector.remora-system.svc:4317"
    """Where spans go; empty: nowhere."""
    trust_domain: Subdomain = "cluster.local"
    cluster_id: Annotated[Str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")] = "Kubernetes"
    native_sidecars: Bool = True
    """The sidecar is an init container that keeps running: Kubernetes 1.29 or later. False: a container beside the
    application's, which the application then has to be held back for."""
    cni: Bool = False
    """The node agent captures the traffic; pods need no privileged init container."""
    take_istios_place: Bool = False
    """Heed Istio's own labels (`istio-injection`, `istio.io/rev`) too."""
    hold_application_until_proxy_starts: Bool = True
    """In the classic form. A native sidecar always starts first."""
    termination_drain_duration: Duration = 5.0
    """Seconds that requests under way get when the pod ends."""
    rewrite_app_http_probers: Annotated[Bool, Field(alias="rewriteAppHTTPProbers")] = True
    """Probes go by way of the sidecar: the kubelet has no certificate of the mesh."""
    merge_metrics: Bool = True
    """Prometheus is pointed at the sidecar, which adds the application's metrics to its own."""
    concurrency: Annotated[Int, Field(ge=1, le=64)] | None = None
    """Worker processes of each sidecar; None: its own default."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "96Mi"}, limits={"memory": "512Mi"})
    capture: CaptureSettings = CaptureSettings()
    capture_dns: Bool = False
    """The application's DNS questions go to the sidecar, which knows the mesh's names and asks the pod's own servers
    for others."""
    templates: dict[Annotated[Str, Field(pattern=_TEMPLATE_NAME.pattern.replace("\\Z", "$"))],
                    Annotated[Str, AfterValidator(_template)]] = Field(default_factory=dict, max_length=32)  # fmt: skip
    """Partial pods as YAML, merged over the sidecar for pods that name them in `inject.istio.io/templates`."""
    default_templates: tuple[Str, ...] = (SIDECAR,)
    """For pods that name none."""

    @model_validator(mode="after")
    def _consistent(self) -> "InjectorSettings":
        if SIDECAR in self.templates:
            raise wrong(f"templates has one named {SIDECAR}, which is Remora's own; give yours another name")
        if SIDECAR not in self.default_templates:
            raise wrong(f"default_templates must contain {SIDECAR}; others are merged over it")
        for name in self.default_templates:
            if name != SIDECAR and name not in self.templates:
                raise wrong(f"default_templates names {shorten(name)}, which is not in templates")
        return self

    @property
    def own_revision(self) -> str:
        """The empty revision has a name, too."""
        return self.revision or DEFAULT_REVISION


DEFAULT_REVISION = "default"


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """The pod's namespace, as the API server knows it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
