"""Transport sockets: the mesh's mutual TLS on both sides, and TLS to the outside."""

from collections.abc import Iterable, Sequence

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from control.generate.names import (
    IDENTITY_SECRET,
    ROOT_SECRET,
    SDS_CLUSTER,
    SYSTEM_SECRET,
    credential_authorities,
    credential_secret,
)
from control.generate.pack import pack
from control.ir.mesh import GatewayTls

HTTP_ALPN = ("h2", "http/1.1")
"""What requests are taken in."""
RELAYED_ALPN = ("istio",)
"""Istio's word for "the mesh's own mutual TLS, with bytes within"."""


def ads() -> ConfigSource:
    """From the stream that this resource comes by."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def raw() -> TransportSocket:
    """Plaintext."""
    return TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=pack(RawBuffer()))


def upstream_mutual(sni: str, principals: Iterable[str], alpn: Sequence[str]) -> TransportSocket:
    """The mesh's mutual TLS towards one of `principals`."""
    sans = [_uri(exact=principal) for principal in sorted(set(principals))]
    context = UpstreamTlsContext(sni=sni, common_tls_context=_common(sans, alpn))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def upstream_simple(sni: str, names: Iterable[str], alpn: Sequence[str]) -> TransportSocket:
    """TLS to a server outside, checked against the system's authorities and the names given."""
    sans = [
        SubjectAltNameMatcher(
            san_type=SubjectAltNameMatcher.URI if "://" in name else SubjectAltNameMatcher.DNS,
            matcher=StringMatcher(exact=name),
        )
        for name in sorted(set(names))
    ]
    common = CommonTlsContext(combined_validation_context=_validation(sans, SYSTEM_SECRET), alpn_protocols=alpn)
    context = UpstreamTlsContext(sni=sni, common_tls_context=common)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def downstream_mutual(trust_domain: str, alpn: Sequence[str]) -> TransportSocket:
    """Mutual TLS demanded of any workload of the trust domain."""
    common = _common([_uri(prefix=f"spiffe://{trust_domain}/")], alpn)
    context = DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def downstream_files(tls: GatewayTls, alpn: Sequence[str]) -> TransportSocket:
    """TLS that a gateway ends with its own files, which Istio names in the secret: the agent reads them; or with a
    credential that it is sent."""
    common = CommonTlsContext(alpn_protocols=alpn)
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_3 if tls.only_1_3 else TlsParameters.TLSv1_2
    if tls.credential:
        shown, source = credential_secret(tls.credential), ads()
        asked = credential_authorities(tls.credential) if tls.mutual else None
    else:
        shown, source = f"file-cert:{tls.certificate}~{tls.key}", _own_sds()
        asked = f"file-root:{tls.authorities}" if tls.authorities is not None else None
    common.tls_certificate_sds_secret_configs.add(name=shown, sds_config=source)
    context = DownstreamTlsContext(common_tls_context=common)
    if asked is not None:
        validation = context.common_tls_context.validation_context_sds_secret_config
        validation.name = asked
        validation.sds_config.CopyFrom(source)
        context.require_client_certificate.value = True
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def _common(sans: list[SubjectAltNameMatcher], alpn: Sequence[str]) -> CommonTlsContext:
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TLSv1_3, tls_maximum_protocol_version=TlsParameters.TLSv1_3
        ),
        tls_certificate_sds_secret_configs=[SdsSecretConfig(name=IDENTITY_SECRET, sds_config=_own_sds())],
        combined_validation_context=_validation(sans, ROOT_SECRET),
        alpn_protocols=alpn,
    )


def _validation(
    sans: list[SubjectAltNameMatcher], secret: str
) -> CommonTlsContext.CombinedCertificateValidationContext:
    return CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=sans),
        validation_context_sds_secret_config=SdsSecretConfig(name=secret, sds_config=ads()),
    )


def _own_sds() -> ConfigSource:
    """The agent itself: the key never leaves the workload, so the control plane has nothing to send."""
    service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER))
    source = ApiConfigSource(
        api_type=ApiConfigSource.GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[service],
        set_node_on_first_message_only=True,
    )
    return ConfigSource(api_config_source=source, resource_api_version=ApiVersion.V3)


def _uri(*, exact: str = "", prefix: str = "") -> SubjectAltNameMatcher:
    matcher = StringMatcher(exact=exact) if exact else StringMatcher(prefix=prefix)
    return SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=matcher)
