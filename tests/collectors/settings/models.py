"""Every model of the settings: what tests of all of them go through."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from collectors.settings.registry import EXPORTERS, PROCESSORS, RECEIVERS, load_type
from collectors.settings.routes import RouteSettings


def models() -> list[type[BaseModel]]:
    """Those of all types, and the ones within them."""
    found: dict[type[BaseModel], None] = {}
    modules = {*RECEIVERS.values(), *PROCESSORS.values(), *EXPORTERS.values()}
    for model in (RouteSettings, *(load_type(module).Settings for module in sorted(modules))):
        _gather(model, found)
    return list(found)


def _gather(model: type[BaseModel], found: dict[type[BaseModel], None]) -> None:
    if model not in found:
        found[model] = None
        for field in model.model_fields.values():
            for inner in _models_in(field.annotation):
                _gather(inner, found)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for one in get_args(annotation):
            yield from _models_in(one)
