"""Istio's certificate service, `istio.v1.auth.IstioCertificateService`: its messages as plain types and as bytes.

No package ships Istio's definition, so the two messages are described here, field numbers as in istio/api's
security/v1alpha1/ca.proto. They live in a descriptor pool of their own: a program that also loads generated Istio
code meets no conflict.
"""

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import DecodeError

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "CreateCertificate"
FULL_METHOD = f"/{SERVICE}/{METHOD}"
"""The path that gRPC calls."""


class MalformedCertificateMessage(ValueError):
    """The bytes are no such message."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """`IstioCertificateRequest`. `to_bytes` and `from_bytes` fit gRPC's serializer parameters."""

    csr: str
    """PKCS #10, PEM."""
    validity_s: int = 0
    """Wished-for lifetime; 0 leaves it to the authority."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        message = _request_class(csr=self.csr, validity_duration=self.validity_s)
        if self.metadata:
            json_format.ParseDict(self.metadata, message.metadata)
        return bytes(message.SerializeToString())

    @classmethod
    def from_bytes(cls, data: bytes) -> "CertificateRequest":
        """Raises MalformedCertificateMessage. Unknown fields are passed over: peers may be newer, the authority
        takes nothing from them."""
        message = _parse(_request_class, data)
        try:
            metadata = json_format.MessageToDict(message.metadata) if message.HasField("metadata") else {}
        except ValueError as error:  # infinity and NaN, which JSON has not
            raise MalformedCertificateMessage(f"its metadata cannot be read: {error}") from error
        return cls(message.csr, message.validity_duration, metadata)


@dataclass(frozen=True, slots=True)
class CertificateResponse:
    """`IstioCertificateResponse`: certificates as PEM, leaf first, root last."""

    cert_chain: tuple[str, ...]

    def to_bytes(self) -> bytes:
        return bytes(_response_class(cert_chain=self.cert_chain).SerializeToString())

    @classmethod
    def from_bytes(cls, data: bytes) -> "CertificateResponse":
        """Raises MalformedCertificateMessage."""
        return cls(tuple(_parse(_response_class, data).cert_chain))


def _parse(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedCertificateMessage(f"not a {kind.DESCRIPTOR.name}: {error}") from error


def _describe() -> descriptor_pb2.FileDescriptorProto:
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="security/v1alpha1/ca.proto",
        package="istio.v1.auth",
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    # 2 was subject_id; upstream removed it.
    request.field.add(name="validity_duration", number=3, type=kind.TYPE_INT64, label=kind.LABEL_OPTIONAL)
    request.field.add(
        name="metadata",
        number=4,
        type=kind.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=kind.LABEL_OPTIONAL,
    )
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=kind.TYPE_STRING, label=kind.LABEL_REPEATED)
    return file


def _message_class(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"istio.v1.auth.{name}"))


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
_pool.AddSerializedFile(_describe().SerializeToString())
_request_class = _message_class(_pool, "IstioCertificateRequest")
_response_class = _message_class(_pool, "IstioCertificateResponse")
