"""What a person types into a search field, as FTS5 queries."""

MAX_QUERY_CHARS = 2_000
"""The rest of a longer one is cut off."""
_MAX_WORDS = 64


def attempts(text: str) -> list[str]:
    """Queries to try in turn: the text itself, since it may be one of FTS5's (`error AND "GET /api" NOT health*`), then
    its words literally, all of which must occur. Empty when there is no word in it.

    SQLite itself is the judge of what is valid: a second parser of its language would differ from it somewhere.
    """
    text = text.replace("\0", " ")[:MAX_QUERY_CHARS]
    words = [word for word in text.split() if any(char.isalnum() for char in word)][:_MAX_WORDS]
    if not words:
        return []
    literal = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    return [text, literal]
