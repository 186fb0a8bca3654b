"""Why a resource cannot be used: what the control plane is told in a NACK."""


class Rejected(Exception):
    """A resource holds something that we do not understand or cannot do."""

    def __init__(self, path: str, why: str, *, kind: str = "", resource: str = "") -> None:
        super().__init__(path, why)
        self.kind = kind
        """"CDS", "LDS", ...; empty until the decoder of the whole resource adds it."""
        self.resource = resource
        """The resource's name, likewise."""
        self.path = path
        """Protobuf field names from the resource's root, `virtual_hosts[0].routes[2].match.safe_regex`."""
        self.why = why

    def __str__(self) -> str:
        where = f"{self.kind} {self.resource}: " if self.kind else ""
        return f"{where}{self.path}: {self.why}" if self.path else f"{where}{self.why}"
