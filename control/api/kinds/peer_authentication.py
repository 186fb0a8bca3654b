"""`security.istio.io` PeerAuthentication: whether a workload takes plaintext, mutual TLS or both."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from control.api.model import Model, wrong
from control.api.scalars import Labels, PortNumber, shorten

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class Mtls(Model):
    """The mode; UNSET inherits."""

    mode: Mode = "UNSET"
    """STRICT: mutual TLS alone; PERMISSIVE: plaintext, too; DISABLE: plaintext alone."""


class Selector(Model):
    """Workloads by their labels."""

    match_labels: Labels = Field(max_length=64, default_factory=dict)
    """That the workloads have."""


def _port(value: object) -> object:
    # YAML keys are text in Kubernetes' JSON: `portLevelMtls: {8080: ...}` and `{"8080": ...}` are the same.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        return int(value)
    raise wrong(f"{shorten(value)} is not a port number; write 1 to 65535")


class PeerAuthenticationSpec(Model):
    """`spec`."""

    selector: Selector | None = None
    """Which workloads of the namespace; usually all."""
    mtls: Mtls = Mtls()
    """For all ports."""
    port_level_mtls: dict[Annotated[PortNumber, BeforeValidator(_port)], Mtls] = Field(
        max_length=64, default_factory=dict
    )
    """For single ports of the workload."""

    @model_validator(mode="after")
    def _ports_need_selector(self) -> "PeerAuthenticationSpec":
        if self.port_level_mtls and not (self.selector and self.selector.match_labels):
            raise wrong("has portLevelMtls without selector.matchLabels; ports belong to selected workloads")
        return self
