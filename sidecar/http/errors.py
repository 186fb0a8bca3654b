"""What a peer sent that is not HTTP/1.1 as we accept it. Ours to answer when a client did it, never to forward."""


class ProtocolError(Exception):
    """A malformed message. `status` is what a client is told; `details` goes into the access record.

    `details` are Envoy's response code details where Envoy has a word for the case.
    """

    def __init__(self, status: int, details: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.details = details
        self.reason = reason


class IncompleteMessage(ProtocolError):
    """The connection ended inside a message."""

    def __init__(self, reason: str) -> None:
        super().__init__(502, "upstream_reset_after_response_started{connection_termination}", reason)
