"""What the router needs of whoever asked: the request's head, and somewhere to put the answer."""

from typing import Protocol

from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.filters.failures import Failure
from sidecar.http.head import RequestHead, ResponseHead
from sidecar.telemetry.record import RequestRecord


class Client(Protocol):
    """The request's other side."""

    head: RequestHead
    record: RequestRecord

    def render_request(self, endpoint: LiveEndpoint, attempt: int) -> bytes:
        """The request's head as it goes to `endpoint`; `attempt` counts from 1."""

    def informed(self, head: ResponseHead) -> None:
        """A 1xx answer."""

    def answered(self, head: ResponseHead) -> None:
        """The answer's head."""

    def answer_data(self, data: bytes) -> None:
        """A piece of the answer's body."""

    def answer_ended(self) -> None:
        """The answer is whole; the router is done."""

    def flush(self) -> None:
        """Write what the last calls gathered."""

    def failed(self, failure: Failure) -> None:
        """There is no answer, or no more of it; the router is done."""

    def hold_client(self, held: bool) -> None:
        """Stop or resume reading the request."""
