"""Which of the two it is that has the indices."""

from typing import Literal

Engine = Literal["elasticsearch", "opensearch"]
