"""How long one connection may keep the event loop before it looks at the others.

The loop reads a connection that always has more up to 32 times, 8 MiB, before it looks elsewhere, and small chunks,
frames and fields cost a hundred times what a body of their size does: seconds in which nobody else is served.
"""

from typing import Final

TURN_S: Final = 0.001
TURN_BYTES: Final = 64 * 1024
"""Read at once; of less, no connection comes again before the others."""
