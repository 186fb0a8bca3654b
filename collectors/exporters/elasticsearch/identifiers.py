"""Under which `_id` a record is stored, and where it stands in its stream. Pure."""

import hashlib
from base64 import urlsafe_b64encode

from collectors.records import Sample

_ID_BYTES = 20
"""160 bits of the digest: nobody finds a record that takes another's place, and the index has 27 characters to keep
rather than 43."""


def document_id(record_id: str) -> str:
    """The same for the same record, whoever sends it and however often; safe in JSON and in addresses as it is."""
    digest = hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest[:_ID_BYTES]).rstrip(b"=").decode("ascii")


def sample_id(sample: Sample) -> str:
    """A reading has no id of its own: its series and its time are what it is."""
    labels = "\0".join(f"{name}\0{value}" for name, value in sample.labels)
    return document_id(f"sample:{sample.name}\0{labels}\0{sample.time!r}")


def position(record_id: str) -> tuple[str, int | None]:
    """The stream and the number in it: of `NODE/EPOCH/17` (an access record), `chunk:ID/17` and the like; of a file's
    line, `tail:FILE/OFFSET-END`, the offset. An id without a number is a stream of its own."""
    stream, slash, number = record_id.rpartition("/")
    number, dash, end = number.partition("-")
    if dash and not (end.isascii() and end.isdecimal()):
        return record_id, None
    # 18 digits fit a `long`; isdecimal() alone would let other scripts' digits through.
    if slash and len(number) <= 18 and number.isascii() and number.isdecimal():
        return stream, int(number)
    return record_id, None
