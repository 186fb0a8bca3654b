"""What a sidecar knows of the pod that it is in. Types only: sidecar.agent.pod_environment reads them."""

from dataclasses import dataclass, field
from enum import Enum


class Form(Enum):
    """How the sidecar's container stands in the pod."""

    NATIVE = "native"
    """An init container with restartPolicy Always: the kubelet ends it after the application."""
    CLASSIC = "classic"
    """A container beside the application's: the kubelet tells all of them to end at once."""


class Stay(Enum):
    """How long a classic sidecar goes on after the kubelet told it to end."""

    APPLICATION = "application"
    """As long as somebody else has a socket in the pod."""
    DRAIN = "drain"
    """The drain duration, and no longer: what Istio does unless told otherwise."""
    GRACE = "grace"
    """Until just before the pod's grace period is over: for applications that hold no socket and still need the network
    in the end. Deleting the pod then takes the whole period."""


@dataclass(frozen=True, slots=True)
class HttpGet:
    """The kubelet's `httpGet`."""

    port: int
    path: str = "/"
    host: str | None = None
    """None: the pod's address."""
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    """As written; `host` is among them where it is given."""


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """The kubelet's `tcpSocket`."""

    port: int
    host: str | None = None


@dataclass(frozen=True, slots=True)
class GrpcHealth:
    """The kubelet's `grpc`: grpc.health.v1.Health/Check without TLS."""

    port: int
    service: str = ""


Action = HttpGet | TcpSocket | GrpcHealth


@dataclass(frozen=True, slots=True)
class AppProbe:
    """A probe or a lifecycle hook of the application, which the agent performs for the kubelet."""

    path: str
    """Where the kubelet asks for it, on 15020."""
    action: Action
    timeout_s: float = 1.0
    hook: str | None = None
    """How a lifecycle hook is called before people; its path is for the kubelet alone. None: it is a probe."""

    @property
    def shown(self) -> str:
        """For logs."""
        return self.hook or self.path


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod, and how its sidecar lives and ends in it."""

    name: str
    address: str
    """Its IP address, in canonical form."""
    form: Form = Form.CLASSIC
    job: bool = False
    """It runs to completion: the sidecar ends when the control plane says that the application has."""
    stay: Stay = Stay.APPLICATION
    drain_s: float = 5.0
    """A classic sidecar goes on at least so long after SIGTERM: others need a moment to learn that the pod goes."""
    grace_s: float = 30.0
    """`terminationGracePeriodSeconds`: then comes SIGKILL."""
    revision: str | None = None
    host: str | None = None
    """The node's address."""
    probes: tuple[AppProbe, ...] = field(default=())
