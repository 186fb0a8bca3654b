"""What the router needs of whoever asked: the request's head, and somewhere to put the answer."""

from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.filters.failures import Failure
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.telemetry.record import RequestRecord


class Client:
    """The request's other side. Methods to override: compiled, a Protocol would cost look-ups by name."""

    __slots__ = ("head", "record")

    head: RequestHead
    record: RequestRecord

    def sending(self, endpoint: LiveEndpoint, attempt: int) -> FieldLines:
        """The request is about to go to `endpoint`; `attempt` counts from 1. Returns fields for the head's end."""
        raise NotImplementedError

    def informed(self, head: ResponseHead) -> None:
        """A 1xx answer."""
        raise NotImplementedError

    def answered(self, head: ResponseHead) -> None:
        """The answer's head. With `upgrade` the protocols were switched: bytes pass both ways from now on."""
        raise NotImplementedError

    def answer_data(self, data: bytes) -> None:
        """A piece of the answer's body."""
        raise NotImplementedError

    def answer_trailers(self, trailers: list[Header]) -> None:
        """The fields behind the body; the end follows."""
        raise NotImplementedError

    def answer_shut(self) -> None:
        """After a switch of protocols: the upstream sends no more; the client may still."""
        raise NotImplementedError

    def answer_ended(self) -> None:
        """The answer is whole; the router is done."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the last calls gathered."""
        raise NotImplementedError

    def failed(self, failure: Failure) -> None:
        """There is no answer, or no more of it; the router is done."""
        raise NotImplementedError

    def hold_client(self, held: bool) -> None:
        """Stop or resume reading the request."""
        raise NotImplementedError
