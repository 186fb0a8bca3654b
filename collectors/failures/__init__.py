"""Which records tell of a failure, and which failures are the same one again. Pure: no clock, no I/O."""

from collectors.failures.failure import Failure
from collectors.failures.recognize import of_log, of_span

__all__ = ["Failure", "of_log", "of_span"]
