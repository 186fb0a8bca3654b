"""The mesh's names with their addresses: the runtime layer for sidecars that answer their application's DNS.

Istio sends the same as a type of its own (`istio.networking.nds.v1.NameTable`), which no published types have; a layer
is told to nobody who does not ask for it by name. docs/decisions/0025-names-by-a-runtime-layer.md
"""

import ipaddress

from envoy.service.runtime.v3.rtds_pb2 import Runtime

from control.generate.entries import entry
from control.generate.memory import memory_of
from control.generate.resources import Resources
from control.ir.mesh import Mesh
from control.ir.services import Resolution, Service

LAYER = "remora.names"
MAX_ADDRESSES = 256
"""Of a headless service: a client takes the first ones, and an answer of DNS holds no more than 64 KiB."""


def name_table(mesh: Mesh) -> Resources:
    """Made once for all sidecars that capture. Nothing of it follows from instances of services that have addresses of
    their own, so that it stays the same while those come and go."""
    return memory_of(mesh).part(name_table, (mesh.shape,), lambda: _made(mesh))


def _made(mesh: Mesh) -> Resources:
    layer = Runtime(name=LAYER)
    names = layer.layer.fields["names"].struct_value
    for host, service in mesh.services.items():
        if found := _addresses(service):
            names.fields[host].string_value = " ".join(found)
    return Resources({LAYER: entry(LAYER, layer)}, shared=True)


def _addresses(service: Service) -> list[str]:
    """Its own; a headless service's are its instances'. None: whoever knows the host besides us is asked."""
    if service.addresses:
        return list(service.addresses)
    if service.resolution is not Resolution.PUSHED:
        return []
    instances = (each for some in service.endpoints.values() for each in some if each.pod or service.external)
    found = dict.fromkeys(each.address.host for each in instances)
    return [each for each in found if _is_address(each)][:MAX_ADDRESSES]


def _is_address(text: str) -> bool:
    """A ServiceEntry's instances may be names themselves."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
