"""Filters that users wrote in Python: a `TypedStruct` whose value is read as strictly as a message.

{name, source | file, sha256, class, config (JSON text), match: {hosts, routes, pathPrefixes}, timeout (`0.1s`),
failurePolicy, maxBodyBytes}
"""

import hashlib
import json
import os
import re
import stat
from typing import Any

from google.protobuf import json_format

from sidecar.config.python_filter import (
    MAX_BODY_BYTES,
    MAX_CONFIG_BYTES,
    MAX_MATCHES,
    MAX_SOURCE_BYTES,
    MAX_TIMEOUT_S,
    FilterMatch,
    PythonFilter,
)
from sidecar.xds.fields import Fields
from sidecar.xds.rejected import Rejected

TYPE = "remora.filters.http.python"
"""`type_url` of the TypedStruct."""

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s\Z")
_POLICIES = {"FAIL_CLOSE": False, "FAIL_OPEN": True}


class _Values:
    """A mapping of a Struct. Each reading takes its entry; `done` rejects what is left."""

    def __init__(self, plain: dict[str, Any], path: str) -> None:
        self._left = dict(plain)
        self.path = path

    def reject(self, name: str, why: str) -> Rejected:
        return Rejected(f"{self.path}.{name}", why)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            raise self.reject(name, "is required" if value is None else "is no text")
        return value

    def has(self, name: str) -> bool:
        return name in self._left

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._left.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.reject(name, "is no list of texts")
        if len(value) > MAX_MATCHES:
            raise self.reject(name, f"has {len(value)} entries; at most {MAX_MATCHES} are allowed")
        return tuple(value)

    def whole(self, name: str, default: int, maximum: int) -> int:
        value = self._left.pop(name, default)
        # A Struct's numbers are all fractions.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise self.reject(name, "is no whole number")
        if not 0 <= value <= maximum:
            raise self.reject(name, f"must be from 0 to {maximum}")
        return int(value)

    def child(self, name: str) -> "_Values":
        value = self._left.pop(name, {})
        if not isinstance(value, dict):
            raise self.reject(name, "is no mapping")
        return _Values(value, f"{self.path}.{name}")

    def done(self) -> None:
        for name in sorted(self._left):
            raise self.reject(name, "is not supported")


def decode_python_filter(fields: Fields, *, after_fault: bool) -> PythonFilter:
    """Raises Rejected. A file's text is read here, once, so that all workers run the same."""
    kind = fields.text("type_url").rpartition("/")[2]
    if kind != TYPE:
        raise fields.reject("type_url", f"{kind[:100]!r} is not supported; supported: {TYPE}")
    values = _Values(json_format.MessageToDict(fields.value("value")), fields.at("value"))
    name = values.text("name")
    config = values.text("config", "{}")
    if len(config.encode("utf-8", "surrogatepass")) > MAX_CONFIG_BYTES:
        raise values.reject("config", f"is longer than {MAX_CONFIG_BYTES} bytes")
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise values.reject("config", "is not JSON") from error
    if not isinstance(parsed, dict):
        raise values.reject("config", "is no JSON object")
    class_name = values.text("class")
    if not class_name.isidentifier():
        raise values.reject("class", f"{class_name[:100]!r} is no name of a class")
    policy = values.text("failurePolicy", "FAIL_CLOSE")
    if policy not in _POLICIES:
        raise values.reject("failurePolicy", f"must be one of {', '.join(_POLICIES)}")
    decoded = PythonFilter(
        name=name,
        source=_source(values),
        class_name=class_name,
        config=config,
        match=_match(values.child("match")),
        timeout_s=_timeout_s(values),
        fail_open=_POLICIES[policy],
        max_body_bytes=values.whole("maxBodyBytes", 64 * 1024, MAX_BODY_BYTES),
        after_fault=after_fault,
    )
    values.done()
    return decoded


def _timeout_s(values: _Values) -> float:
    text = values.text("timeout", "0.1s")
    match = _SECONDS.match(text)
    seconds = float(match[1]) if match else 0.0
    if not 0.001 <= seconds <= MAX_TIMEOUT_S:
        raise values.reject("timeout", f"must be from 0.001s to {MAX_TIMEOUT_S:g}s")
    return seconds


def _match(values: _Values) -> FilterMatch:
    match = FilterMatch(
        hosts=tuple(host.lower() for host in values.texts("hosts")),
        routes=values.texts("routes"),
        path_prefixes=values.texts("pathPrefixes"),
    )
    for host in match.hosts:
        if "*" in host.removeprefix("*.") and host != "*":
            raise values.reject("hosts", f"{host[:100]!r} is not a name, *.SUFFIX or *")
    for prefix in match.path_prefixes:
        if not prefix.startswith("/"):
            raise values.reject("pathPrefixes", f"{prefix[:100]!r} does not begin with /")
    values.done()
    return match


def _source(values: _Values) -> str:
    if values.has("source"):
        source = values.text("source")
        if values.has("file") or values.has("sha256"):
            raise values.reject("file", "cannot be combined with source")
        if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
            raise values.reject("source", f"is longer than {MAX_SOURCE_BYTES} bytes")
        return source
    path = values.text("file")
    wanted = values.text("sha256", "")
    data = _read(values, path)
    if wanted and hashlib.sha256(data).hexdigest() != wanted.lower():
        raise values.reject("sha256", f"{path} is another file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise values.reject("file", f"{path} is not UTF-8 text") from error


def _read(values: _Values, path: str) -> bytes:
    if not path.startswith("/") or "\0" in path:
        raise values.reject("file", f"{path[:200]!r} is no absolute path")
    try:
        # What is no file must not be waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise values.reject("file", f"{path} cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise values.reject("file", f"{path} is no file")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise values.reject("file", f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > MAX_SOURCE_BYTES:
        raise values.reject("file", f"{path} is longer than {MAX_SOURCE_BYTES} bytes")
    return data
