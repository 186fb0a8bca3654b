"""gRPC channels to the control plane and the collector: TLS from memory, the peer's name, dead-peer detection."""

from dataclasses import dataclass

import grpc
import grpc.aio

from sidecar.config.endpoint import Address

CONTROL_NAME = "remora-control.remora-system.svc"
COLLECTOR_NAME = "remora-collector.remora-system.svc"
"""DNS SANs that the mesh's authority gives to these two alone."""

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""A response larger than this is refused."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without a FIN is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.enable_retries", 0),  # who calls decides what to repeat and when
    ("grpc.use_local_subchannel_pool", 1),  # a channel with new credentials never shares the old one's connection
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a channel proves and believes, PEM."""

    roots_pem: str
    chain_pem: str | None = None
    """None: no certificate yet."""
    key_pem: str | None = None

    def __repr__(self) -> str:
        return f"<Credentials {'mutual' if self.chain_pem else 'server only'}>"


def open_channel(address: Address, peer_name: str, credentials: Credentials) -> grpc.aio.Channel:
    """A channel that trusts only the mesh's roots and only the peer whose certificate has the DNS SAN `peer_name`."""
    tls = grpc.ssl_channel_credentials(
        credentials.roots_pem.encode(),
        credentials.key_pem.encode() if credentials.key_pem else None,
        credentials.chain_pem.encode() if credentials.chain_pem else None,
    )
    options = (*_OPTIONS, ("grpc.ssl_target_name_override", peer_name))
    return grpc.aio.secure_channel(str(address), tls, options=options)


def describe(error: grpc.aio.AioRpcError) -> str:
    """`UNAVAILABLE: connection refused`, cut to a line's length."""
    return f"{error.code().name}: {(error.details() or '')[:500]}"
