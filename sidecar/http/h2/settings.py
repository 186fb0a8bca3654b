"""What one end of a connection announces (RFC 9113 6.5), and what it bears from the other before it hangs up."""

from typing import NamedTuple

DEFAULT_WINDOW = 65_535
"""Octets: every window before SETTINGS and WINDOW_UPDATE say otherwise (RFC 9113 6.9.2)."""

MAX_WINDOW = 2**31 - 1
"""Octets (RFC 9113 6.9.1)."""

MIN_FRAME_SIZE = 16_384
MAX_FRAME_SIZE = 2**24 - 1
"""Octets of payload: what SETTINGS_MAX_FRAME_SIZE may say (RFC 9113 4.2)."""


class Settings(NamedTuple):
    """What we announce. Push is always off. Raises nothing: the configuration was checked where it was decoded."""

    header_table_size: int = 4096
    """Octets of the decoder's dynamic table; per connection, so a large one is paid for by memory."""

    max_concurrent_streams: int = 100
    """Streams that the peer may have open at once; the next is answered REFUSED_STREAM."""

    initial_window_size: int = 262_144
    """Octets of body per stream that may wait for `consumed`: enough for 2 Gbit/s at 1 ms, and the memory a stream that
    nobody reads can take."""

    connection_window_size: int = 1_048_576
    """The same for all streams together; raised by a WINDOW_UPDATE at the start. Not below DEFAULT_WINDOW."""

    max_frame_size: int = MIN_FRAME_SIZE
    """Octets of payload that we accept in one frame."""

    max_header_list_size: int = 60 * 1024
    """Octets of one head's names and values and 32 for each field. As HTTP/1.1's limit."""

    max_header_fields: int = 100
    """Fields of one head, pseudo-headers included. Not announced: HTTP/2 has no setting for it."""

    enable_connect_protocol: bool = False
    """Servers: extended CONNECT is offered (RFC 8441)."""


class Limits(NamedTuple):
    """Each ends the connection with ENHANCE_YOUR_CALM when it is exceeded, unless it says otherwise.

    Where a limit is per window, the window begins with the first that counts and ends `window_s` later.
    """

    window_s: float = 10.0
    """Seconds; the length of every window below."""

    resets: int = 500
    """Servers: streams per window that ended by RST_STREAM, the client's (rapid reset) or ours that the client provoked
    (made-you-reset, refused streams, malformed requests). What the application resets is not counted."""

    pings: int = 600
    """PINGs per window with no HEADERS or DATA between: clients that measure bandwidth send one per flight."""

    settings: int = 100
    """SETTINGS per window; each changes windows and tables, and is acknowledged."""

    empty_data: int = 200
    """DATA per window that carries nothing and ends nothing (CVE-2019-9518)."""

    late_frames: int = 10_000
    """HEADERS and DATA per window on streams that we have reset: they were on their way, not more."""

    priority_per_stream: int = 100
    """PRIORITY and unknown frames, times one more than the streams opened so far: Envoy's
    max_inbound_priority_frames_per_stream."""

    window_updates_per_data: int = 10
    """WINDOW_UPDATE: 5 + 2 * (streams + this * DATA frames sent): Envoy's
    max_inbound_window_update_frames_per_data_frame_sent (CVE-2019-9511). Every 2 KiB count as one more frame: ours
    are larger than Envoy's, and some peers return what they read piece by piece."""

    continuations: int = 16
    """CONTINUATION frames of one header block (CVE-2024-27316)."""

    header_block_octets: int = 128 * 1024
    """Encoded octets of one header block; the encoding can be longer than what it stands for."""

    informational: int = 32
    """Clients: 1xx answers on one stream; the next resets it."""

    control_frames: int = 1000
    """Answers (SETTINGS and PING acknowledgements, RST_STREAM, WINDOW_UPDATE) that wait for `take_output`: a peer that
    does not read them. Envoy's max_outbound_control_frames."""
