"""Every field of settings that were read, wherever it is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from collectors.settings.document import Steps


class Found(NamedTuple):
    """One field."""

    steps: Steps
    owner: BaseModel
    name: str
    value: Any


def fields_of(settings: BaseModel, steps: Steps) -> Iterator[Found]:
    """Those of `settings`, which is at `steps`, and of the models within it."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        at = (*steps, field.alias or name)
        yield Found(at, settings, name, value)
        yield from _within(value, at)


def _within(value: Any, steps: Steps) -> Iterator[Found]:
    if isinstance(value, BaseModel):
        yield from fields_of(value, steps)
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _within(one, (*steps, index))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _within(one, (*steps, str(key)))
