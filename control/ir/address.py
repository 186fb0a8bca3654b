"""Where something listens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address, or a host name that the proxy resolves, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
