"""Conditions of a VirtualService's HTTP route (Istio `HTTPMatchRequest`)."""

from pydantic import Field, field_validator

from control.api.kinds.string_match import HeaderMatch, StringMatch
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import Bool, HeaderName, Labels, PortNumber, Str, shorten


class HttpMatch(Model):
    """All given conditions must hold."""

    name: Str | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[HeaderName, HeaderMatch] = Field(default_factory=dict)
    without_headers: dict[HeaderName, HeaderMatch] = Field(default_factory=dict)
    query_params: dict[Str, StringMatch] = Field(default_factory=dict)
    ignore_uri_case: Bool = False
    port: PortNumber | None = None
    source_labels: Labels = Field(default_factory=dict)
    source_namespace: Str | None = None
    gateways: tuple[Str, ...] = ()
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
