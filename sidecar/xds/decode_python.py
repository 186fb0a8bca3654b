"""Filters that users wrote in Python: a `TypedStruct` whose value is read as strictly as a message.

{name, source | file, sha256, class, config (JSON text), match: {hosts, routes, pathPrefixes}, timeout (`0.1s`),
failurePolicy, maxBodyBytes}
"""

import hashlib
import json
import os
import re
import stat

from sidecar.config.python_filter import (
    MAX_BODY_BYTES,
    MAX_CONFIG_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TIMEOUT_S,
    FilterMatch,
    PythonFilter,
)
from sidecar.xds.fields import Fields
from sidecar.xds.values import Values

TYPE = "remora.filters.http.python"
"""`type_url` of the TypedStruct."""

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s\Z")
_POLICIES = {"FAIL_CLOSE": False, "FAIL_OPEN": True}


def decode_python_filter(fields: Fields, *, after_fault: bool) -> PythonFilter:
    """Raises Rejected. A file's text is read here, once, so that all workers run the same."""
    kind = fields.text("type_url").rpartition("/")[2]
    if kind != TYPE:
        raise fields.reject("type_url", f"{kind[:100]!r} is not supported; supported: {TYPE}")
    values = Values.of(fields.value("value"), fields.at("value"))
    name = values.text("name")
    config = values.document("config", "{}", MAX_CONFIG_BYTES)
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise values.reject("config", "is not JSON") from error
    if not isinstance(parsed, dict):
        raise values.reject("config", "is no JSON object")
    class_name = values.text("class")
    if not class_name.isidentifier():
        raise values.reject("class", f"{class_name[:100]!r} is no name of a class")
    policy = values.word("failurePolicy", _POLICIES, "FAIL_CLOSE")
    decoded = PythonFilter(
        name=name,
        source=_source(values),
        class_name=class_name,
        config=config,
        match=_match(values.child("match")),
        timeout_s=_timeout_s(values),
        fail_open=_POLICIES[policy],
        max_body_bytes=values.whole("maxBodyBytes", 64 * 1024, 0, MAX_BODY_BYTES),
        after_fault=after_fault,
    )
    values.done()
    return decoded


def _timeout_s(values: Values) -> float:
    text = values.text("timeout", "0.1s")
    match = _SECONDS.match(text)
    seconds = float(match[1]) if match else 0.0
    if not 0.001 <= seconds <= MAX_TIMEOUT_S:
        raise values.reject("timeout", f"must be from 0.001s to {MAX_TIMEOUT_S:g}s")
    return seconds


def _match(values: Values) -> FilterMatch:
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


def _source(values: Values) -> str:
    if values.has("source"):
        source = values.document("source", None, MAX_SOURCE_BYTES)
        if values.has("file") or values.has("sha256"):
            raise values.reject("file", "cannot be combined with source")
        return source
    path = values.text("file")  # and no source: one of them must be there
    wanted = values.text("sha256", "")
    data = _read(values, path)
    if wanted and hashlib.sha256(data).hexdigest() != wanted.lower():
        raise values.reject("sha256", f"{path} is another file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise values.reject("file", f"{path} is not UTF-8 text") from error


def _read(values: Values, path: str) -> bytes:
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
