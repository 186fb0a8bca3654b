"""mitmproxy addon scripts of a listener: the HTTP filter `remora.filters.http.addon`, a `TypedStruct`.

{addons: [{name, script, match: {path, methods, hosts, headers: [NAME or NAME=GLOB], routes}, samplePercent,
timeoutSeconds, onFailure: open | close, maxBodyBytes}]}
"""

import re

from sidecar.config.addon import MAX_ADDON_BODY_BYTES, MAX_ADDON_TIMEOUT_S, MAX_ADDONS, Addon
from sidecar.xds.fields import Fields
from sidecar.xds.values import Values

TYPE = "remora.filters.http.addon"
"""`type_url` of the TypedStruct."""

SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.py\Z")
"""A file's name and nothing else: no script outside the sidecar's addon directory can be named."""

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")


def decode_addons(fields: Fields) -> tuple[Addon, ...]:
    """Raises Rejected."""
    fields.text("type_url")
    values = Values.of(fields.value("value"), fields.at("value"))
    rules = values.children("addons")
    values.done()
    if not 0 < len(rules) <= MAX_ADDONS:
        raise values.reject("addons", f"has {len(rules)} rules; 1 to {MAX_ADDONS} are allowed")
    addons = tuple(_decode_addon(each) for each in rules)
    if len({addon.name for addon in addons}) != len(addons):
        raise values.reject("addons", "has two rules of one name")
    return addons


def _decode_addon(values: Values) -> Addon:
    name, script = values.text("name"), values.text("script")
    if not SCRIPT.match(script):
        raise values.reject("script", f"{script[:60]!r} is not the name of a .py file, without a directory")
    match = values.child("match")
    path = match.text("path", "")
    if path and path[0] not in "/*?[":
        raise match.reject("path", f"{path[:60]!r} does not begin with / and is no glob")
    methods = match.texts("methods")
    for method in methods:
        if not _METHOD.match(method):
            raise match.reject("methods", f"{method[:60]!r} is no method")
    addon = Addon(
        name=name,
        script=script,
        path=path,
        methods=methods,
        hosts=tuple(host.lower() for host in match.texts("hosts")),
        headers=tuple(_decode_header(match, each) for each in match.texts("headers")),
        routes=match.texts("routes"),
        sample_percent=values.number("samplePercent", 100.0, 0.0, 100.0),
        timeout_s=values.number("timeoutSeconds", 0.5, 0.001, MAX_ADDON_TIMEOUT_S),
        fail_open=values.word("onFailure", ("open", "close"), "close") == "open",
        max_body_bytes=values.whole("maxBodyBytes", 64 * 1024, 0, MAX_ADDON_BODY_BYTES),
    )
    match.done()
    values.done()
    return addon


def _decode_header(match: Values, text: str) -> tuple[str, str | None]:
    name, equals, pattern = text.partition("=")
    if not _HEADER.match(name):
        raise match.reject("headers", f"{name[:60]!r} is no header's name")
    return name.lower(), pattern if equals else None
