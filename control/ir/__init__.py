"""The mesh without dialect."""

from control.ir.address import Address
from control.ir.mesh import Mesh
from control.ir.proxy import AppPort, Proxy, ProxyKind
from control.ir.settings import MeshSettings

__all__ = ["Address", "AppPort", "Mesh", "MeshSettings", "Proxy", "ProxyKind"]
