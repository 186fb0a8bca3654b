"""Transport sockets: `UpstreamTlsContext`, `DownstreamTlsContext`, `RawBuffer`."""

from dataclasses import dataclass

from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from google.protobuf.message import Message

from sidecar.config.cluster import UpstreamTls
from sidecar.config.listener import DownstreamTls
from sidecar.xds.decode_addresses import decode_secret_source
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.needs import Decoding

LOCAL_CERTIFICATE = "default"
LOCAL_ANCHORS = "ROOTCA"
"""Secrets that the agent makes itself; Istio's names."""

FILE_CERTIFICATE = "file-cert:"
FILE_ROOT = "file-root:"
"""Secrets that the agent reads from files, after the colon: `CERTIFICATE~KEY`, and a bundle of authorities."""

_VERSIONS = {"TLS_AUTO": "", "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}
_UPSTREAM_CLASSES = by_name(UpstreamTlsContext, RawBuffer)
_DOWNSTREAM_CLASSES = by_name(DownstreamTlsContext, RawBuffer)
_RAW = RawBuffer.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class _Common:
    """What both directions have."""

    certificate: str | None
    validation: str | None
    sans: tuple[str, ...]
    trust_domains: tuple[str, ...]
    alpn: tuple[str, ...]
    min_version: str
    """`TLSv1.2`, `TLSv1.3`, or empty where not said."""


def decode_upstream_tls(fields: Fields, decoding: Decoding, *, only_where_offered: bool = False) -> UpstreamTls | None:
    """A `TransportSocket`; None for plaintext. The socket's name says nothing that its type does not."""
    unpacked = _unpack(fields, _UPSTREAM_CLASSES)
    if unpacked is None:
        return None
    common = _decode_common(unpacked.must("common_tls_context"), decoding, upstream=True)
    return UpstreamTls(
        sni=unpacked.text("sni") or None,
        certificate=common.certificate,
        validation=common.validation,
        sans=common.sans,
        alpn=common.alpn,
        only_where_offered=only_where_offered,
    )


def decode_downstream_tls(fields: Fields, decoding: Decoding) -> DownstreamTls | None:
    """The same for connections that we accept."""
    unpacked = _unpack(fields, _DOWNSTREAM_CLASSES)
    if unpacked is None:
        return None
    common = _decode_common(unpacked.must("common_tls_context"), decoding, upstream=False)
    if common.certificate is None:
        raise unpacked.reject("common_tls_context.tls_certificate_sds_secret_configs", "is required")
    required = bool(unpacked.wrapped("require_client_certificate", False))
    if required and common.validation is None:
        raise unpacked.reject("require_client_certificate", "needs trust anchors to check the certificate with")
    return DownstreamTls(
        certificate=common.certificate,
        validation=common.validation,
        require_client_certificate=required,
        alpn=common.alpn,
        # Envoy's default is 1.2; within the mesh, where both ends are ours, nothing below 1.3 is spoken.
        min_version=common.min_version or ("TLSv1.3" if required else "TLSv1.2"),
        trust_domains=common.trust_domains,
    )


def _unpack(fields: Fields, classes: dict[str, type[Message]]) -> Fields | None:
    fields.informational("name")
    unpacked = fields.unpacked("typed_config", classes)
    if unpacked is None:
        raise fields.reject("typed_config", "is required")
    kind, message = unpacked
    return None if kind == _RAW else message


def _decode_common(fields: Fields, decoding: Decoding, *, upstream: bool) -> _Common:
    certificates = fields.children("tls_certificate_sds_secret_configs")
    if len(certificates) > 1:
        raise fields.reject("tls_certificate_sds_secret_configs", "only one certificate is supported")
    certificate = _secret_name(certificates[0], decoding, LOCAL_CERTIFICATE) if certificates else None
    validation: str | None = None
    sans: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    kind = fields.which("validation_context_type")
    if kind == "combined_validation_context":
        combined = fields.must(kind)
        validation = _secret_name(combined.must("validation_context_sds_secret_config"), decoding, LOCAL_ANCHORS)
        default = combined.child("default_validation_context")
        if default is not None:
            sans, trust_domains = _decode_names(default, upstream=upstream)
    elif kind == "validation_context_sds_secret_config":
        validation = _secret_name(fields.must(kind), decoding, LOCAL_ANCHORS)
    elif kind is not None:
        raise fields.reject(kind, "name the trust anchors by validation_context_sds_secret_config")
    return _Common(
        certificate, validation, sans, trust_domains, fields.texts("alpn_protocols"), _decode_min_version(fields)
    )


def _decode_min_version(fields: Fields) -> str:
    parameters = fields.child("tls_params")
    if parameters is None:
        return ""
    if parameters.enum("tls_maximum_protocol_version") not in ("TLS_AUTO", "TLSv1_3"):
        raise parameters.reject("tls_maximum_protocol_version", "TLS 1.3 cannot be switched off")
    return _VERSIONS[parameters.only("tls_minimum_protocol_version", _VERSIONS)]


def _secret_name(fields: Fields, decoding: Decoding, local: str) -> str:
    """The secret's name; noted as needed where the control plane sends it."""
    name = fields.required("name")
    if decode_secret_source(fields.must("sds_config")):
        decoding.secrets.add(name)
    elif name != local:
        files = FILE_CERTIFICATE if local == LOCAL_CERTIFICATE else FILE_ROOT
        paths = name.removeprefix(files).split("~")
        if (
            not name.startswith(files)
            or len(paths) != (2 if files == FILE_CERTIFICATE else 1)
            or not all(path.startswith("/") for path in paths)
        ):
            raise fields.reject("name", f"the agent has no such secret, only `{local}` and files, `{files}/...`")
    return name


def _decode_names(fields: Fields, *, upstream: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Exact names that the peer may have, and SPIFFE trust domains (from matches of the prefix `spiffe://DOMAIN/`)."""
    sans: list[str] = []
    trust_domains: list[str] = []
    matchers: list[Fields] = []
    for typed in fields.children("match_typed_subject_alt_names"):
        typed.only("san_type", ("URI", "DNS"))
        matchers.append(typed.must("matcher"))
    # The untyped form, which Envoy deprecated and Istio's older releases send.
    matchers += fields.children("match_subject_alt_names")
    for matcher in matchers:
        kind = matcher.which("match_pattern")
        if kind == "exact":
            sans.append(matcher.required("exact"))
        elif kind == "prefix":
            prefix = matcher.required("prefix")
            domain = prefix.removeprefix("spiffe://").removesuffix("/")
            if upstream or prefix != f"spiffe://{domain}/" or "/" in domain:
                raise matcher.reject("prefix", "only spiffe://TRUST-DOMAIN/ for clients is supported; use exact")
            trust_domains.append(domain)
        else:
            raise matcher.reject(kind or "", "only exact names are supported")
    if sans and not upstream:
        raise fields.reject("match_typed_subject_alt_names", "exact names of clients are not supported; use RBAC")
    return tuple(sans), tuple(trust_domains)
