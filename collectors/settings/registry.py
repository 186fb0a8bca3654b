"""Which types there are. A type is a module: its `Settings` (a pydantic model) and its `build`.

    receivers    build(settings, context, consumer) -> Receiver
    processors   build(settings, name, context, then) -> Consumer     hands on to `then`, which is built already
    exporters    build(settings, name, context) -> Sink | Consumer    a Sink gets a buffer in front (delivery) as its
                                                                      settings say; a Consumer is durable by itself

Modules are named and not imported, so that a collector loads the clients of those back ends alone that it feeds.
"""

import importlib
from typing import Any, Protocol, runtime_checkable

RECEIVERS: dict[str, str] = {
    "forward": "collectors.receivers.settings",
    "otlp": "collectors.receivers.otlp_settings",
    "scrape": "collectors.receivers.scrape_settings",
    "tail": "collectors.receivers.tail.settings",
}
"""By their key under `receivers:`."""

PROCESSORS: dict[str, str] = {
    "aggregate": "collectors.processors.aggregation",
    "cardinality": "collectors.processors.cardinality",
    "filter": "collectors.processors.filtering",
    "parse": "collectors.processors.parsers.settings",
    "redact": "collectors.processors.rules",
    "relabel": "collectors.processors.relabel",
    "tail_sampling": "collectors.processors.tail_sampling",
}
"""By `processors.NAME.type`."""

EXPORTERS: dict[str, str] = {
    "blackhole": "collectors.exporters.blackhole",
    "elasticsearch": "collectors.exporters.elasticsearch.settings",
    "file": "collectors.exporters.file",
    "jaeger": "collectors.exporters.jaeger.settings",
    "otlp": "collectors.exporters.otlp.settings",
    "remote_write": "collectors.exporters.remote_write.settings",
    "store": "collectors.exporters.store_settings",
    "zipkin": "collectors.exporters.zipkin.settings",
}
"""By `exporters.NAME.type`."""


@runtime_checkable
class Receiver(Protocol):
    """What `build` of a receiver returns. Its sockets are bound by `build`, which raises OSError naming the address."""

    async def start(self) -> dict[str, str]:
        """Serve. Returns addresses by name, for the log and --ready-fd; port 0 was replaced by what it became."""

    async def close(self) -> None:
        """Take no more; hand on and answer what was taken."""


class TypeMissing(Exception):
    """This build has no such type."""


def load_type(module: str) -> Any:
    """The module of a type. Raises TypeMissing where it, or a package that it needs, is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = error.name or module
        if name.split(".")[0] == "collectors":
            raise TypeMissing("is not in this build of Remora") from error
        raise TypeMissing(f"needs {name}, which is not installed: pip install 'remora[collectors]'") from error
