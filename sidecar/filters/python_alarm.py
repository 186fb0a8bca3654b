"""Ends a call of user code that blocks: SIGALRM raises in it. Of the worker process, whose main thread runs the loop.

What this can not end is a single C function that neither returns nor looks for signals (a huge integer power, for
example): that holds the worker up until its agent, whose pings go unanswered, kills it. Sleeping, reading, regular
expressions and Python's own loops are ended.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Protocol

AGAIN_S: Final = 0.01
"""Code that catches the exception meets it again after this."""


class Overrun(BaseException):
    """The call has taken too long. No Exception, so that user code does not catch it by accident."""


class Alarm(Protocol):
    """Armed around each call: see `bounded`."""

    armed: bool

    def start(self, seconds: float) -> None:
        """Raise Overrun in whatever runs after `seconds`, again and again until `stop`."""

    def stop(self) -> None:
        """The call is over."""


def bounded(alarm: Alarm, seconds: float, code: Callable[..., Any], *arguments: Any) -> Any:
    """Call `code`. Raises Overrun, while it runs and never afterwards."""
    try:
        alarm.start(seconds)
        return code(*arguments)
    finally:
        # Python looks for signals when a function is entered or has returned: this store comes before any of that.
        alarm.armed = False
        alarm.stop()


def said(error: BaseException, alarm: Alarm, seconds: float) -> str:
    """What the exception says of itself. Its class may be the user's, so asking it is user code as well."""
    try:
        return str(bounded(alarm, seconds, str, error))
    except BaseException as second:
        return f"<its text can not be had: {type(second).__name__}>"


class NoAlarm:
    """Where the process's signals are another's: calls are measured, not ended."""

    armed = False

    def start(self, seconds: float) -> None:
        pass

    def stop(self) -> None:
        pass


class SignalAlarm:
    """By ITIMER_REAL. `install` in the main thread."""

    def __init__(self) -> None:
        self.armed = False

    def install(self) -> None:
        """Take SIGALRM over."""
        signal.signal(signal.SIGALRM, self._ring)

    def start(self, seconds: float) -> None:
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            raise Overrun
