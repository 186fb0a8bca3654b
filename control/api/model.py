"""What every model of a kind has in common: camelCase names, nothing unknown accepted, frozen."""

from typing import Annotated, Any, Never

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """A mapping of the YAML. Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, regex_engine="python-re")


def wrong(message: str) -> PydanticCustomError:
    """An error whose text is `message` as it stands."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


_NOT_YET = "is not supported by Remora yet; remove it"
_OUTDATED = "is deprecated in Istio; write consecutive5xxErrors or consecutiveGatewayErrors"


def _refuse(_value: object) -> Never:
    raise PydanticCustomError("unsupported", _NOT_YET)


def _refuse_errors(_value: object) -> Never:
    raise PydanticCustomError("unsupported", _OUTDATED)


Unsupported = Annotated[Any, BeforeValidator(_refuse), WithJsonSchema({"x-unsupported": _NOT_YET})]
"""A field that Istio has and we do not: refused by its name, rather than ignored or called unknown."""
ConsecutiveErrors = Annotated[Any, BeforeValidator(_refuse_errors), WithJsonSchema({"x-unsupported": _OUTDATED})]
"""One that Istio has two better ones for."""
