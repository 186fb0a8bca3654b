"""`networking.istio.io` Gateway: which ports and hosts the mesh answers at its edge."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from control.api.model import Model, Unsupported, wrong
from control.api.protocols import Protocol
from control.api.scalars import HOST_LABEL, DnsLabel, Labels, PortNumber, Str, Subdomain, check_host, shorten


def _server_host(value: str) -> str:
    namespace, slash, host = value.rpartition("/")
    if slash and namespace not in ("*", ".") and not namespace.replace("-", "").isalnum():
        raise wrong(f"{shorten(value)} is not NAMESPACE/HOST")
    return f"{namespace}{slash}{check_host(host, wildcard=True)}"


ServerHost = Annotated[
    Str,
    AfterValidator(_server_host),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^((\*|\.|[A-Za-z0-9-]+)/)?(\*|(\*\.)?{HOST_LABEL}(\.{HOST_LABEL})*\.?)$",
            "maxLength": 320,
        }
    ),
]


class ServerPort(Model):
    """A port of the gateway's service."""

    number: PortNumber
    """Of the gateway's service."""
    name: DnsLabel
    """For people."""
    protocol: Protocol
    """HTTP, HTTPS, TLS, TCP, ..."""
    target_port: Unsupported = None


def _file(value: str) -> str:
    if not value.startswith("/") or any(character in value for character in "~\0\r\n") or len(value) > 1024:
        raise wrong(f"is {shorten(value)}; write the absolute path of a file beside the gateway")
    return value


FilePath = Annotated[
    Str,
    AfterValidator(_file),
    WithJsonSchema({"type": "string", "pattern": r"^/[^~\x00\r\n]*$", "maxLength": 1024}),
]


class ServerTls(Model):
    """Who ends TLS, and with what. Files are read by the gateway itself: no key passes through the control plane."""

    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL"] = "PASSTHROUGH"
    """PASSTHROUGH: the application; SIMPLE: the gateway; MUTUAL: it asks clients for certificates, too."""
    server_certificate: FilePath | None = None
    """PEM file beside the gateway."""
    private_key: FilePath | None = None
    """PEM file beside the gateway."""
    ca_certificates: FilePath | None = None
    """PEM file: whom clients' certificates must be of, for MUTUAL."""
    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    """Older ones are refused."""
    https_redirect: Unsupported = None
    credential_name: Subdomain | None = None
    """Secret of type kubernetes.io/tls in the gateway's own namespace (tls.crt, tls.key; ca.crt for MUTUAL), instead of
    files."""
    credential_names: Unsupported = None
    tls_certificates: Unsupported = None
    ca_crl: Unsupported = None
    subject_alt_names: Unsupported = None
    verify_certificate_spki: Unsupported = None
    verify_certificate_hash: Unsupported = None
    max_protocol_version: Unsupported = None
    cipher_suites: Unsupported = None

    @model_validator(mode="after")
    def _files_fit(self) -> "ServerTls":
        files = (self.server_certificate, self.private_key, self.ca_certificates)
        if self.mode == "PASSTHROUGH":
            if any(files):
                raise wrong("names files, but with PASSTHROUGH the application itself ends TLS; remove them")
            if self.credential_name:
                raise wrong("has credentialName, but with PASSTHROUGH the application itself ends TLS; remove it")
            return self
        if self.credential_name:
            if any(files):
                raise wrong("has both credentialName and files; write one of the two")
            return self
        if not self.server_certificate or not self.private_key:
            raise wrong(
                f"is {self.mode} without serverCertificate and privateKey; write both files' paths, or credentialName"
            )
        if (self.mode == "MUTUAL") != (self.ca_certificates is not None):
            raise wrong("has caCertificates for MUTUAL and for nothing else: they are what clients are checked against")
        return self


class Server(Model):
    """A port and the hosts answered on it."""

    port: ServerPort
    """Where it listens."""
    hosts: tuple[ServerHost, ...] = Field(min_length=1, max_length=256)
    """Which names it answers for, as HOST or NAMESPACE/HOST."""
    name: Str | None = None
    """For people."""
    tls: ServerTls | None = None
    """Who ends TLS; for the protocols HTTPS and TLS."""
    bind: Unsupported = None
    default_endpoint: Unsupported = None

    @model_validator(mode="after")
    def _tls_fits(self) -> "Server":
        protocol = self.port.protocol
        if protocol in ("HTTPS", "TLS") and self.tls is None:
            raise wrong(f"port {self.port.number} is {protocol} without tls; write tls, such as {{mode: PASSTHROUGH}}")
        if protocol not in ("HTTPS", "TLS") and self.tls is not None:
            raise wrong(f"has tls, but port {self.port.number} is {protocol}; write the protocol HTTPS or TLS")
        return self


class GatewaySpec(Model):
    """`spec`."""

    selector: Labels = Field(min_length=1, max_length=64)
    """Labels of the gateway's pods."""
    servers: tuple[Server, ...] = Field(min_length=1, max_length=256)
    """What it answers on."""
