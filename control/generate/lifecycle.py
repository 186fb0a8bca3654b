"""What a proxy is told of its application's life: the runtime layer by which a Job's sidecar learns that it may end.

Envoy's way to change settings at run time (RTDS) is used since every xDS client knows it; only who asks for the layer
by name gets it, so a real Envoy never does. docs/decisions/0018-how-a-jobs-sidecar-ends.md says why it is told so.
"""

from envoy.service.runtime.v3.rtds_pb2 import Runtime

from control.ir.proxy import Proxy

LAYER = "remora.lifecycle"


def lifecycle_layer(proxy: Proxy) -> Runtime | None:
    """None while there is nothing to say."""
    if not proxy.finished:
        return None
    layer = Runtime(name=LAYER)
    layer.layer.update({"finished": True})
    return layer
