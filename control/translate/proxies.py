"""A registered workload as the one who asks for configuration."""

from control.api.workload import Workload, split_host_port
from control.ir.address import Address
from control.ir.proxy import AppPort, Proxy, ProxyKind, TcpOutbound
from control.translate.protocols import protocol
from mesh.spiffe import SpiffeId


def address(value: str) -> Address:
    """`127.0.0.1:9080` of a validated record."""
    return Address(*split_host_port(value))


def identity_of(workload: Workload, trust_domain: str) -> SpiffeId:
    """Whom the workload's certificate names."""
    return SpiffeId(trust_domain, workload.namespace, workload.service_account)


def proxy_of(workload: Workload, trust_domain: str) -> Proxy:
    """What `generate` needs to know of it."""
    return Proxy(
        node_id=workload.node_id,
        kind=ProxyKind(workload.kind),
        workload=workload.name,
        namespace=workload.namespace,
        identity=str(identity_of(workload, trust_domain)),
        labels=workload.effective_labels,
        ports=tuple(
            AppPort(
                port.service_port,
                address(port.app),
                port.name,
                protocol(port.protocol),
                address(port.inbound) if port.inbound else None,
            )
            for port in workload.ports
        ),
        inbound=address(workload.inbound) if workload.inbound else None,
        outbound=address(workload.outbound) if workload.outbound else None,
        tcp_outbound=tuple(
            TcpOutbound(each.service, each.port, address(each.listen)) for each in workload.tcp_outbound
        ),
        gateway_ports={int(port): address(at) for port, at in sorted(workload.gateway_ports.items())},
        addresses=workload.addresses,
        capture=workload.capture,
        finished=workload.finished,
        zone=workload.locality.zone,
        region=workload.locality.region,
        subzone=workload.locality.subzone,
    )
