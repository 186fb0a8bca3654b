"""The one fact about a peer's certificate that the ssl module does not tell: whether it is an authority's.

Reads DER (X.690) of a certificate that OpenSSL has verified already; whatever is not plain DER is refused.
"""

_SEQUENCE = 0x30
_EXTENSIONS = 0xA3
_OID = 0x06
_BOOLEAN = 0x01
_OCTETS = 0x04
_BASIC_CONSTRAINTS = bytes([0x55, 0x1D, 0x13])


class UnreadableCertificate(ValueError):
    """The bytes are no certificate in DER."""


def is_authority(der: bytes) -> bool:
    """Whether basicConstraints says CA:TRUE (RFC 5280 4.2.1.9). Raises UnreadableCertificate."""
    (certificate,) = _one(der)
    body = _members(certificate[1], None)
    if not body or body[0][0] != _SEQUENCE:
        raise UnreadableCertificate("no TBSCertificate")
    for tag, content in _members(body[0][1], None):
        if tag == _EXTENSIONS:
            (extensions,) = _one(content)
            return any(_says_authority(extension) for _, extension in _members(extensions[1], _SEQUENCE))
    return False


def _says_authority(extension: bytes) -> bool:
    parts = _members(extension, None)
    if len(parts) not in (2, 3) or parts[0][0] != _OID or parts[-1][0] != _OCTETS:
        raise UnreadableCertificate("malformed extension")
    if parts[0][1] != _BASIC_CONSTRAINTS:
        return False
    (constraints,) = _one(parts[-1][1])
    fields = _members(constraints[1], None)
    return bool(fields) and fields[0][0] == _BOOLEAN and fields[0][1] != b"\x00"


def _members(data: bytes, expected: int | None) -> list[tuple[int, bytes]]:
    """The (tag, content) of each element; every tag must be `expected` if given."""
    members: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise UnreadableCertificate("truncated")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):
                raise UnreadableCertificate("length")
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data) or tag & 0x1F == 0x1F or (expected is not None and tag != expected):
            raise UnreadableCertificate("tag or length")
        members.append((tag, data[at : at + length]))
        at += length
    if expected is not None and not members:
        raise UnreadableCertificate("empty")
    return members


def _one(data: bytes) -> list[tuple[int, bytes]]:
    members = _members(data, _SEQUENCE)
    if len(members) != 1:
        raise UnreadableCertificate("more than one element where one is due")
    return members
