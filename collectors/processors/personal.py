"""Where in a text there is what names a person or his money: mail and network addresses, card and account numbers.

An expression finds what looks like one, a check says whether it is: card numbers by Luhn (ISO/IEC 7812), account
numbers by length and check digits (ISO 13616). A text that cannot have any is told by a cheap look first.
"""

import ipaddress
from collections.abc import Callable
from typing import NamedTuple

from collectors.processors.patterns import CompiledPattern

Span = tuple[int, int]


class Finder(NamedTuple):
    """One kind of thing."""

    expression: CompiledPattern
    may_have: Callable[[str], bool]
    """False: it is not in the text, for certain."""
    end_of: Callable[[str], int] | None = None
    """How many characters of what was found are it; 0: none."""
    stands_alone: bool = False
    """It is none as a part of a word."""

    def spans(self, text: str) -> list[Span]:
        """Where they are, in order, without overlaps."""
        if not self.may_have(text):
            return []
        found = []
        for match in self.expression.finditer(text):
            start, end = match.span()
            if self.end_of is not None:
                end = start + self.end_of(text[start:end])
            if self.stands_alone and (_in_word(text[start - 1 : start]) or _in_word(text[end : end + 1])):
                continue
            if end > start:
                found.append((start, end))
        return found


def _in_word(char: str) -> bool:
    return char.isalnum() or char in ("_", ":")


def of_expression(expression: CompiledPattern) -> Finder:
    """Whatever a user's expression finds."""
    return Finder(expression, lambda _text: True)


def _is_ipv6(text: str) -> int:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return 0
    return len(text)


def _is_card(text: str) -> int:
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    # All the same (zeros first of all) passes Luhn, and is no card.
    return len(text) if (sum(doubled) + sum(digits[-1::-2])) % 10 == 0 and len(set(digits)) > 1 else 0


_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22,
    "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters by country (ISO 13616's registry)."""


def _iban_chars(text: str) -> int:
    length = _IBAN_LENGTHS.get(text[:2], 0)
    taken = ""
    for at, char in enumerate(text):
        if char != " ":
            taken += char
        if len(taken) == length:
            number = int("".join(str(int(one, 36)) for one in taken[4:] + taken[:4]))
            return at + 1 if number % 97 == 1 else 0
    return 0


def _has_digit(text: str) -> bool:
    return any(digit in text for digit in "0123456789")


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

FINDERS: dict[str, Finder] = {
    "email": Finder(
        CompiledPattern(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63})+"), lambda t: "@" in t
    ),
    "ipv4": Finder(CompiledPattern(rf"\b(?:{_OCTET}\.){{3}}{_OCTET}\b"), lambda t: "." in t and _has_digit(t)),
    "ipv6": Finder(
        CompiledPattern(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:[0-9]{0,3}(?:\.[0-9]{1,3}){3})?"),
        lambda t: t.count(":") >= 2,
        _is_ipv6,
        stands_alone=True,
    ),
    "credit_card": Finder(CompiledPattern(r"\b[2-6]\d(?:[ \-]?\d){11,17}\b"), _has_digit, _is_card),
    "iban": Finder(CompiledPattern(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}"), _has_digit, _iban_chars),
}
"""By the name that settings give them."""
