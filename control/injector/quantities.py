"""Kubernetes' quantities of CPU and memory: read to be compared, kept as they were written.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator

from control.api.model import wrong
from control.api.scalars import Str, shorten

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([KMGTPE]i|[mkMGTPE]|[eE][-+]?[0-9]{1,2}|)\Z")
_UNITS = {"": Decimal(1), "m": Decimal("0.001")}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def parse(text: str) -> Decimal:
    """Cores, or bytes. Raises ValueError for what Kubernetes would not take, and for negative ones."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    number, unit = match.groups()
    if unit not in _UNITS:
        return Decimal(f"{number}{unit}")
    return Decimal(number) * _UNITS[unit]


def _quantity(value: str) -> str:
    if value:
        try:
            parse(value)
        except ValueError:
            raise wrong(f"is {shorten(value)}; write a quantity such as 100m, 0.5, 128Mi or 1Gi") from None
    return value


Quantity = Annotated[Str, AfterValidator(_quantity)]
"""`100m`, `128Mi`; empty: none."""
