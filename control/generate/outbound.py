"""What the requests of a workload's own meet: the same for all proxies of a namespace to whom the same routes are
addressed, which is usually all of them."""

from control.generate.entries import entry
from control.generate.memory import memory_of
from control.generate.resources import Resources
from control.generate.tunnels import add_tunnels
from control.generate.virtual_hosts import OUTBOUND, Router
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy


def outbound_routes(mesh: Mesh, proxy: Proxy) -> Resources:
    """The table of a forward proxy."""
    key = outbound_routes, proxy.namespace, mesh.addressed(proxy)
    return memory_of(mesh).part(
        key, (mesh.shape,), lambda: _make(mesh, proxy), lambda old: _make(mesh, proxy).kept(old)
    )


def _make(mesh: Mesh, proxy: Proxy) -> Resources:
    table = Router(mesh, proxy).outbound()
    add_tunnels(table, mesh, proxy)
    return Resources({OUTBOUND: entry(OUTBOUND, table)}, shared=True)
