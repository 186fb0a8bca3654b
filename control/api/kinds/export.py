"""`exportTo`, which we know only as "everywhere"."""

from typing import Annotated

from pydantic import AfterValidator

from control.api.model import wrong
from control.api.scalars import Str


def _everywhere(value: tuple[str, ...]) -> tuple[str, ...]:
    if value not in ((), ("*",)):
        raise wrong(f"is {list(value)}; Remora supports only ['*'], everywhere, so far")
    return value


ExportTo = Annotated[tuple[Str, ...], AfterValidator(_everywhere)]
