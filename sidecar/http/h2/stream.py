"""One stream's state: what each side may still send, the windows, what waits for one. RFC 9113 5.1 and 6.9."""

from collections import deque

from sidecar.http.head import Header


class Stream:
    """Exists from the first HEADERS until both sides have ended or one has reset it."""

    __slots__ = (
        "blocked",
        "bodiless",
        "credit",
        "end_queued",
        "expected",
        "headed",
        "id",
        "informational",
        "never_indexed",
        "offset",
        "queue",
        "queued",
        "receive_window",
        "receiving",
        "send_window",
        "sending",
        "trailers",
        "tunnel",
        "unconsumed",
    )

    def __init__(self, number: int, send_window: int, receive_window: int) -> None:
        self.id = number
        self.receiving = True
        """The peer has not ended its side."""
        self.sending = True
        """We have not ended ours; what is queued counts as sent."""
        self.headed = False
        """The peer's head has come: what follows is body and trailers."""
        self.bodiless = False
        """What comes can have no body: an answer to HEAD, 204, 304 (RFC 9110 6.4.1)."""
        self.tunnel = False
        """It began with CONNECT: content-length means nothing once it is granted."""
        self.expected = -1
        """Octets of body still to come, by content-length; -1 for any."""
        self.informational = 0
        self.send_window = send_window
        self.receive_window = receive_window
        self.unconsumed = 0
        """Octets reported that `consumed` has not named."""
        self.credit = 0
        """Octets consumed that no WINDOW_UPDATE has returned."""
        self.queue: deque[bytes] | None = None
        """Data that waits for a window."""
        self.offset = 0
        """Of the queue's first, octets that are gone."""
        self.queued = 0
        self.end_queued = False
        self.trailers: list[Header] | None = None
        """Behind the queue; encoded when their turn comes, as HPACK demands."""
        self.never_indexed: list[bytes] | None = None
        self.blocked = False
        """Writable has been promised."""

    def __repr__(self) -> str:
        way = ("closed", "half-closed (remote)", "half-closed (local)", "open")[self.receiving * 2 + self.sending]
        return f"<Stream {self.id} {way}, windows {self.send_window}/{self.receive_window}, {self.queued} queued>"
