"""envoy.service.runtime.v3.Runtime -> RuntimeLayer. One key is known; whatever else a layer says is refused."""

from google.protobuf import json_format

from sidecar.xds.fields import Fields
from sidecar.xds.needs import Decoding, RuntimeLayer


def decode_runtime(fields: Fields, decoding: Decoding) -> RuntimeLayer:
    """`layer` may have `finished`, a truth value."""
    layer = json_format.MessageToDict(fields.value("layer"))
    finished = layer.pop("finished", False)
    if not isinstance(finished, bool):
        raise fields.reject("layer.finished", "is neither true nor false")
    if layer:
        raise fields.reject(f"layer.{min(layer)}", "is not supported; supported: finished")
    return RuntimeLayer(fields.required("name"), finished)
