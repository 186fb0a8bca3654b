"""OTLP/HTTP with protobuf bodies."""

from collectors.exporters.http import HttpBackend, excerpt
from collectors.exporters.otlp.sink import NotTaken
from collectors.exporters.sink import Failed


class HttpClient:
    """See sink.Client."""

    def __init__(self, backend: HttpBackend) -> None:
        self._backend = backend

    async def export(self, signal: str, body: bytes) -> bytes:
        """See sink.Client."""
        status, answer = await self._backend.post(f"/v1/{signal}", body, "application/x-protobuf")
        if 200 <= status < 300:
            return answer
        said = f"answered {status}: {excerpt(answer)}"
        if status >= 500:
            # Of 5xx the specification lets 502, 503 and 504 come again and no other (neither those nor 429 come here).
            # But a back end that fails for a while says 500 too, and the records are nowhere else.
            raise Failed(said)
        raise NotTaken(said)

    async def close(self) -> None:
        """See sink.Client."""
        await self._backend.close()
