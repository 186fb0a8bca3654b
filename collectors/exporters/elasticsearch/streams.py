"""Data streams are there before they are written to, where a request cannot demand it: OpenSearch would make an
ordinary index of a stream's name if no template were there, and keep it."""

from collectors.exporters.elasticsearch.client import Client, Denied
from collectors.exporters.sink import Unavailable

_THERE = "resource_already_exists_exception"


class Streams:
    """Asks once for each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._there: set[str] = set()

    async def ensure(self, names: set[str]) -> None:
        """Return when all are there. Raises Unavailable."""
        for name in sorted(names - self._there):
            try:
                await self._client.request("PUT", f"/_data_stream/{name}")
            except Denied as error:
                if _THERE not in str(error):
                    hint = "install the templates, or leave `setup: false` out"
                    raise Unavailable(f"cannot make the data stream {name}: {error}; {hint}") from error
            self._there.add(name)
