"""Istio's `StringMatch`: one of exact, prefix and regex."""

from pydantic import model_validator

from control.api.model import Model, wrong
from control.api.scalars import Regex, Str


class StringMatch(Model):
    """A comparison. Exactly one is set."""

    exact: Str | None = None
    """The whole text."""
    prefix: Str | None = None
    """How it begins."""
    regex: Regex | None = None
    """RE2, of the whole text."""

    @model_validator(mode="after")
    def _one(self) -> "StringMatch":
        given = [n for n in ("exact", "prefix", "regex") if getattr(self, n) is not None]
        if len(given) != 1:
            raise wrong(f"has {' and '.join(given) or 'none'} of exact, prefix and regex; write exactly one")
        if self.prefix == "":
            raise wrong("has an empty prefix, which matches everything; leave the match out, or write a regex .*")
        return self


class HeaderMatch(Model):
    """The same for a header; `{}` means that the header is present."""

    exact: Str | None = None
    """The whole value."""
    prefix: Str | None = None
    """How it begins."""
    regex: Regex | None = None
    """RE2, of the whole value."""

    @model_validator(mode="after")
    def _one(self) -> "HeaderMatch":
        given = [n for n in ("exact", "prefix", "regex") if getattr(self, n) is not None]
        if len(given) > 1:
            raise wrong(f"has {' and '.join(given)}; write one of exact, prefix and regex, or {{}} for presence")
        if self.prefix == "":
            raise wrong("has an empty prefix, which matches everything; write {} to match the header's presence")
        return self
