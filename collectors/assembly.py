"""The pipeline behind the gate, as the settings say: routes, their processors, their exporters with their buffers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.delivery.delivery import Delivery
from collectors.delivery.errors import BufferFault
from collectors.exporters.sqlite import StoreExporter
from collectors.pipeline import Consumer
from collectors.processors.routing import Discard, Fanout, Route, Router
from collectors.settings.buffers import BufferSettings, Signal
from collectors.settings.context import Context
from collectors.settings.load import Component, Configuration
from collectors.settings.paths import buffer_directory
from collectors.settings.routes import RouteSettings, compile_tags
from collectors.store import Store, StoreError


@dataclass(slots=True)
class Assembly:
    """What was built. `Context.stack` closes it."""

    consumer: Consumer
    deliveries: list[Delivery] = field(default_factory=list)
    store: Store | None = None
    buffers: dict[str, Path] = field(default_factory=dict)
    """Directories by exporter."""


class CannotBuild(Exception):
    """A part cannot be built though its settings are well-formed: an address is taken, a directory cannot be made."""


async def assemble(configuration: Configuration, context: Context) -> Assembly:
    """Raises CannotBuild."""
    built = Assembly(Discard(context.telemetry))
    exporters: dict[str, Consumer] = {}
    for name, component in configuration.exporters.items():
        carried = {signal for route in configuration.routes if name in route.exporters for signal in route.signals()}
        exporters[name] = await _exporter(component, carried, context, built)
    routes = []
    for route in configuration.routes:
        then = _stages(route, configuration, [exporters[name] for name in route.exporters], context)
        match = route.match
        routes.append(
            Route(
                then,
                frozenset(route.signals()),
                compile_tags(match.tags),
                frozenset(match.severities),
                route.proceed,
            )
        )
    built.consumer = Router(routes, context.telemetry)
    return built


async def _exporter(component: Component, carried: set[Signal], context: Context, built: Assembly) -> Consumer:
    settings = component.settings
    made = _build(f"exporters.{component.name}", component.module, settings, component.name, context)
    if isinstance(made, StoreExporter):
        built.store = made.store
    if not hasattr(made, "send"):
        consumer: Consumer = made
        return consumer
    buffer: BufferSettings = settings.buffer
    directory = buffer_directory(settings, component.name, context.state)
    try:
        ordered = settings.in_order(carried)
        delivery = await Delivery.open(
            component.name, made, buffer, directory, context.clock, context.rng, ordered=ordered
        )
    except (OSError, BufferFault) as error:
        await made.close()
        raise CannotBuild(f"exporters.{component.name}.buffer: {error}") from error
    context.on_close(delivery.close)
    context.watch(delivery)
    built.deliveries.append(delivery)
    built.buffers[component.name] = directory
    return delivery


def _stages(
    route: RouteSettings, configuration: Configuration, exporters: list[Consumer], context: Context
) -> Consumer:
    then: Consumer
    if not exporters:
        then = Discard(context.telemetry)
    else:
        then = exporters[0] if len(exporters) == 1 else Fanout(exporters)
    for name in reversed(route.processors):
        component = configuration.processors[name]
        then = _build(f"processors.{name}", component.module, component.settings, name, context, then)
    return then


def build_receivers(configuration: Configuration, context: Context, consumer: Consumer) -> list[Any]:
    """Bound, not yet started. Raises CannotBuild."""
    receivers = []
    for component in configuration.receivers:
        receiver = _build(f"receivers.{component.name}", component.module, component.settings, context, consumer)
        context.on_close(receiver.close)
        receivers.append(receiver)
    return receivers


def _build(path: str, module: Any, *arguments: Any) -> Any:
    try:
        return module.build(*arguments)
    except (OSError, ValueError, StoreError) as error:
        raise CannotBuild(f"{path}: {error}") from error
