"""The injector's settings as the operator's file has them (`remora install` writes it into a ConfigMap)."""

from pathlib import Path

from pydantic import ValidationError

from control.api.field_errors import explain
from control.api.resource import line_of, spell
from control.api.source import MAX_FILE_BYTES
from control.api.yaml_documents import NotYaml, read
from control.injector.settings import InjectorSettings
from control.listening import CannotStart


class UnusableSettings(CannotStart):
    """The file cannot be used; a line for each mistake, with file, line and field."""


def read_settings(path: Path | None) -> InjectorSettings:
    """The defaults where there is no file. Raises UnusableSettings, OSError."""
    if path is None:
        return InjectorSettings()
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UnusableSettings(f"{path} has {size:,} bytes; it has at most {MAX_FILE_BYTES:,}")
    documents = list(read(path.read_text("utf-8", "replace")))
    if len(documents) > 1:
        raise UnusableSettings(f"{path} has {len(documents)} documents; it has one")
    document = documents[0] if documents else None
    if isinstance(document, NotYaml):
        raise UnusableSettings(f"{path}:{document.line}: {document.message}")
    if document is None or document.value is None:
        return InjectorSettings()
    try:
        return InjectorSettings.model_validate(document.value)
    except ValidationError as error:
        found = [
            f"{path}:{line_of(document.lines, where, document.line)}: {spell(where)}: {message}"
            for where, message in explain(error, InjectorSettings)
        ]
        raise UnusableSettings("\n".join(found)) from error
