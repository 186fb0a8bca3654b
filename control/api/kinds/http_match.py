"""Conditions of a VirtualService's HTTP route (Istio `HTTPMatchRequest`)."""

from pydantic import Field, field_validator

from control.api.kinds.string_match import HeaderMatch, StringMatch
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import Bool, HeaderName, Labels, PortNumber, Str, shorten


class HttpMatch(Model):
    """All given conditions must hold."""

    name: Str | None = None
    """For access logs."""
    uri: StringMatch | None = None
    """The path, without its query."""
    scheme: StringMatch | None = None
    """http or https."""
    method: StringMatch | None = None
    """GET, POST, ..."""
    authority: StringMatch | None = None
    """The Host header."""
    headers: dict[HeaderName, HeaderMatch] = Field(max_length=32, default_factory=dict)
    """Of the request, by name; `{}`: is there."""
    without_headers: dict[HeaderName, HeaderMatch] = Field(max_length=32, default_factory=dict)
    """Must not hold."""
    query_params: dict[Str, StringMatch] = Field(max_length=32, default_factory=dict)
    """Of the query, by name."""
    ignore_uri_case: Bool = False
    """Compare the path in any case."""
    port: PortNumber | None = None
    """Of the service, or the gateway."""
    source_labels: Labels = Field(max_length=64, default_factory=dict)
    """Labels of the calling workload."""
    source_namespace: Str | None = None
    """Namespace of the calling workload."""
    gateways: tuple[Str, ...] = Field(default=(), max_length=64)
    """In place of those of the whole rule."""
    stat_prefix: Unsupported = None

    @field_validator("uri")
    @classmethod
    def _rooted(cls, value: StringMatch | None) -> StringMatch | None:
        text = value and (value.exact or value.prefix)
        if text and not text.startswith("/"):
            raise wrong(f"is {shorten(text)}; a path begins with /: write {shorten('/' + text)}")
        if text and any(c in text for c in "?#"):
            raise wrong(f"is {shorten(text)}; paths are matched without their query: use queryParams")
        return value

    @field_validator("headers", "without_headers")
    @classmethod
    def _lower(cls, value: dict[str, HeaderMatch]) -> dict[str, HeaderMatch]:
        seen: set[str] = set()
        for name in value:
            if name.lower() in seen:
                raise wrong(f"has {shorten(name.lower())} twice; header names ignore case")
            seen.add(name.lower())
            if name.lower() in ("host", "uri"):
                raise wrong(f"has {shorten(name)}; use the field {'authority' if name.lower() == 'host' else 'uri'}")
        return value
