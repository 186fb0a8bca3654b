"""HTTP Archive 1.2 as a JSON schema, from the specification: http://www.softwareishard.com/blog/har-12-spec/."""

from typing import Any

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": -1}
_TIME = {"type": "number", "minimum": -1}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fields of our own begin with an underscore; any other that the specification does not have is wrong."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {}), "comment": _TEXT},
        "patternProperties": {"^_": {}},
        "additionalProperties": False,
    }


_PAIRS = {"type": "array", "items": _object({"name": _TEXT, "value": _TEXT})}
_COOKIES = {
    "type": "array",
    "items": _object(
        {"name": _TEXT, "value": _TEXT},
        {
            "path": _TEXT,
            "domain": _TEXT,
            "expires": {"type": "string", "format": "date-time"},
            "httpOnly": {"type": "boolean"},
            "secure": {"type": "boolean"},
        },
    ),
}
_POST_DATA = {
    **_object({"mimeType": _TEXT}, {"text": _TEXT, "params": _PAIRS}),
    # "Note that text and params fields are mutually exclusive."
    "oneOf": [{"required": ["text"]}, {"required": ["params"]}],
}
_REQUEST = _object(
    {
        "method": {"type": "string", "minLength": 1},
        "url": {"type": "string", "format": "uri"},
        "httpVersion": {"type": "string", "pattern": r"^HTTP/[0-9](\.[0-9])?$"},
        "cookies": _COOKIES,
        "headers": _PAIRS,
        "queryString": _PAIRS,
        "headersSize": _COUNT,
        "bodySize": _COUNT,
    },
    {"postData": _POST_DATA},
)
_CONTENT = _object(
    {"size": {"type": "integer", "minimum": 0}, "mimeType": _TEXT},
    {"compression": {"type": "integer"}, "text": _TEXT, "encoding": {"const": "base64"}},
)
_RESPONSE = _object(
    {
        "status": {"type": "integer", "minimum": 0, "maximum": 599},
        "statusText": _TEXT,
        "httpVersion": _TEXT,
        "cookies": _COOKIES,
        "headers": _PAIRS,
        "content": _CONTENT,
        "redirectURL": _TEXT,
        "headersSize": _COUNT,
        "bodySize": _COUNT,
    }
)
_TIMINGS = _object(
    {"send": {"type": "number", "minimum": 0}, "wait": {"type": "number", "minimum": 0},
     "receive": {"type": "number", "minimum": 0}},
    {"blocked": _TIME, "dns": _TIME, "connect": _TIME, "ssl": _TIME},
)  # fmt: skip
_ENTRY = _object(
    {
        "startedDateTime": {
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
        },
        "time": {"type": "number", "minimum": 0},
        "request": _REQUEST,
        "response": _RESPONSE,
        "cache": _object(
            {}, {"beforeRequest": {"type": ["object", "null"]}, "afterRequest": {"type": ["object", "null"]}}
        ),
        "timings": _TIMINGS,
    },
    {"pageref": _TEXT, "serverIPAddress": _TEXT, "connection": _TEXT},
)

HAR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "log": _object(
                {
                    "version": {"const": "1.2"},
                    "creator": _object({"name": _TEXT, "version": _TEXT}),
                    "entries": {"type": "array", "items": _ENTRY},
                },
                {"browser": _object({"name": _TEXT, "version": _TEXT}), "pages": {"type": "array"}},
            )
        }
    ),
}
