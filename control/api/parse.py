"""Files to resources, or every violation in them with file, line and path. Never raises for any text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from control.api.field_errors import did_you_mean, explain
from control.api.kinds import KINDS, Kind, find_kind
from control.api.kinds.metadata import SERVER_FIELDS, Metadata
from control.api.model import Model
from control.api.resource import Key, Parsed, Path, Resource, line_of, spell
from control.api.scalars import shorten
from control.api.source import MAX_CALL_BYTES, MAX_DOCUMENTS, MAX_FILE_BYTES, SourceFile
from control.api.violation import Violation
from control.api.yaml_documents import Document, NotYaml, read, size_problem

MAX_NAMESPACE = 63
"""Characters."""


def parse(files: Sequence[SourceFile], *, default_namespace: str = "default") -> Parsed:
    """Read every document of every file. A resource without a namespace gets `default_namespace`.

    Resources that are free of errors are returned beside the violations of the others; whether anything is applied
    is the caller's decision (`Parsed.ok`).
    """
    reader = _Reader(default_namespace)
    for file in files:
        reader.file(file)
    return Parsed(tuple(reader.resources), tuple(reader.violations))


def parse_document(value: object, text: str | Callable[[], str] = "") -> Parsed:
    """Read one rule that is plain data already, as an API server gives it: it has neither file nor lines. `text` is how
    it is written as YAML."""
    reader = _Reader("default")
    source = _Source("", 0, {}, (), text)
    problem = size_problem(value)
    if problem:
        # Before anything else looks at it: what costs time or stack is that there is so much of it.
        source.name, source.namespace = _names(value, "default") if isinstance(value, dict) else ("", "default")
        source.kind = shorten_word(value.get("kind")) if isinstance(value, dict) else ""
        return Parsed((), (source.violation((), problem),))
    reader.document(source, value)
    return Parsed(tuple(reader.resources), tuple(reader.violations))


def parse_keys(files: Sequence[SourceFile]) -> tuple[tuple[Key, ...], tuple[Violation, ...]]:
    """Which rules documents name, once each, whatever else they say of them: to remove one it need not be right."""
    reader = _KeyReader("default")
    for file in files:
        reader.file(file)
    return tuple(reader.keys), tuple(reader.violations)


@dataclass(slots=True)
class _Reader:
    default_namespace: str
    resources: list[Resource] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    _bytes: int = 0
    _documents: int = 0

    def file(self, file: SourceFile) -> None:
        size = len(file.text.encode("utf-8", "surrogatepass"))
        self._bytes += size
        if size > MAX_FILE_BYTES:
            self._refuse(file, 1, f"has {size:,} bytes; a file has at most {MAX_FILE_BYTES:,}: split it")
            return
        if self._bytes > MAX_CALL_BYTES:
            self._refuse(file, 1, f"makes this call larger than {MAX_CALL_BYTES:,} bytes; apply fewer files at once")
            return
        found = False
        for document in read(file.text.removeprefix("\ufeff")):
            found = True
            if isinstance(document, NotYaml):
                self.violations.append(
                    Violation(file.name, document.line, path=document.path, message=document.message)
                )
            else:
                self._document(file, document)
        if not found:
            self._refuse(file, 1, "is empty; it must hold at least one rule (apiVersion, kind, metadata, spec)")

    def _refuse(self, file: SourceFile, line: int, message: str) -> None:
        self.violations.append(Violation(file.name, line, message=message))

    def _document(self, file: SourceFile, document: Document) -> None:
        value = document.value
        if isinstance(value, dict) and value.get("kind") == "List" and value.get("apiVersion") == "v1":
            self._list(file, document, value)
            return
        source = _Source(file.name, document.line, document.lines, (), document.text, document.text_line)
        self.document(source, value)

    def _list(self, file: SourceFile, document: Document, value: dict[str, Any]) -> None:
        source = _Source(file.name, document.line, document.lines, (), document.text)
        for name in sorted(set(value) - {"apiVersion", "kind", "metadata", "items"}):
            self.violations.append(source.violation((name,), "is an unknown field of a List; it has items"))
        items = value.get("items")
        if not isinstance(items, list) or not items:
            self.violations.append(source.violation(("items",), "must be a list of rules, at least one"))
            return
        own: list[dict[Path, int]] = [{} for _ in items]
        for inner, number in document.lines.items():
            if len(inner) > 1 and inner[0] == "items" and isinstance(inner[1], int):
                own[inner[1]][inner[2:]] = number
        for index, item in enumerate(items):
            path: Path = ("items", index)
            line = line_of(document.lines, path, document.line)
            self.document(_Source(file.name, line, own[index], path, ""), item)

    def document(self, source: "_Source", value: object) -> None:
        """One rule."""
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            if self._documents == MAX_DOCUMENTS + 1:
                self.violations.append(source.violation((), f"is one document too many; a call has {MAX_DOCUMENTS:,}"))
            return
        if not isinstance(value, dict):
            message = f"is no mapping but {shorten(value)}; a rule has apiVersion, kind, metadata and spec"
            self.violations.append(source.violation((), message))
            return
        self._rule(source, value)

    def _rule(self, source: "_Source", value: dict[str, Any]) -> None:
        before = len(self.violations)
        kind = self._kind(source, value)
        name, namespace = _names(value, self.default_namespace)
        source.kind, source.name, source.namespace = shorten_word(value.get("kind")), name, namespace
        if kind is None:
            return
        for field_name in value:
            if field_name not in ("apiVersion", "kind", "metadata", "spec", "status"):
                guess = did_you_mean(field_name, ["apiVersion", "kind", "metadata", "spec"])
                self.violations.append(source.violation((field_name,), f"is an unknown field{guess}"))
        metadata = self._model(source, Metadata, value, "metadata")
        spec = self._model(source, kind.spec, value, "spec")
        if metadata is None or spec is None or len(self.violations) > before:
            return
        assert isinstance(metadata, Metadata)
        explicit = "namespace" in metadata.model_fields_set
        key = Key(kind.name, metadata.namespace if explicit else self.default_namespace, metadata.name)
        document = _clean(value, key.namespace)
        self.resources.append(
            Resource(
                key=key,
                api_version=value["apiVersion"],
                spec=spec,
                document=document,
                source=source.text or _dump(document),
                file=source.file,
                line=source.line,
                lines=source.lines,
                text_line=source.text_line,
            )
        )

    def _kind(self, source: "_Source", value: Mapping[str, Any]) -> Kind | None:
        version = value.get("apiVersion")
        kind = self._known(source, value)
        if kind is not None and version not in kind.api_versions:
            said = "is required" if version is None else f"is {shorten(version)}"
            message = f"{said}; for {kind.name} write {' or '.join(kind.api_versions)}"
            self.violations.append(source.violation(("apiVersion",), message))
        return kind

    def _known(self, source: "_Source", value: Mapping[str, Any]) -> Kind | None:
        """The kind by its name alone."""
        word = value.get("kind")
        source.kind = shorten_word(word)
        source.name, source.namespace = _names(value, self.default_namespace)
        if not isinstance(word, str) or not word:
            self.violations.append(source.violation(("kind",), f"is required; one of {', '.join(KINDS)}"))
            return None
        kind = KINDS.get(word)
        if kind is None:
            guess = find_kind(word)
            hint = f"; did you mean {guess.name}?" if guess else did_you_mean(word, list(KINDS))
            hint = hint or f"; known are {', '.join(KINDS)}"
            self.violations.append(source.violation(("kind",), f"is {shorten(word)}, which Remora does not know{hint}"))
        return kind

    def _model(self, source: "_Source", model: type[Model], value: Mapping[str, Any], name: str) -> Model | None:
        if name not in value:
            self.violations.append(source.violation((name,), "is required; add it"))
            return None
        try:
            return model.model_validate(value[name])
        except ValidationError as error:
            for path, message in explain(error, model):
                self.violations.append(source.violation((name, *path), message))
            return None


@dataclass(slots=True)
class _KeyReader(_Reader):
    keys: dict[Key, None] = field(default_factory=dict)

    def _rule(self, source: "_Source", value: dict[str, Any]) -> None:
        before = len(self.violations)
        kind = self._known(source, value)
        metadata, version = value.get("metadata"), value.get("apiVersion")
        if kind is not None and version is not None and not _same_group(version, kind):
            # Another group's Gateway is not ours, whatever it is called.
            message = f"is {shorten(version)}; Remora's {kind.name} is of {' or '.join(kind.api_versions)}"
            self.violations.append(source.violation(("apiVersion",), message))
        if not source.name:
            message = "is required; write the name of the rule that is to be deleted"
            self.violations.append(source.violation(("metadata", "name"), message))
        if isinstance(metadata, dict) and not (source.namespace and len(source.namespace) <= MAX_NAMESPACE):
            message = f"is {shorten(metadata.get('namespace'))}, which is no namespace; leave it out for default"
            self.violations.append(source.violation(("metadata", "namespace"), message))
        if kind is not None and len(self.violations) == before:
            self.keys[Key(kind.name, source.namespace, source.name)] = None


def _same_group(version: object, kind: Kind) -> bool:
    """Of another version the name means the same rule."""
    groups = {each.rpartition("/")[0] for each in kind.api_versions}
    return isinstance(version, str) and version.rpartition("/")[0] in groups


@dataclass(slots=True)
class _Source:
    """Where a resource stands in a file, and what it calls itself."""

    file: str
    line: int
    lines: Mapping[Path, int]
    """By paths within the resource."""
    root: Path
    """Where in its document it is."""
    text: str | Callable[[], str]
    text_line: int = 0
    kind: str = ""
    namespace: str = ""
    name: str = ""

    def violation(self, path: Path, message: str) -> Violation:
        line = line_of(self.lines, path, self.line)
        return Violation(self.file, line, self.kind, self.namespace, self.name, spell((*self.root, *path)), message)


def shorten_word(value: object) -> str:
    """`kind` for the head of a message: as written if it is a word, else empty."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 63 else ""


def _names(value: Mapping[str, Any], default_namespace: str) -> tuple[str, str]:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return "", default_namespace
    name, namespace = metadata.get("name"), metadata.get("namespace", default_namespace)
    return (
        name if isinstance(name, str) and name.isprintable() and len(name) <= 253 else "",
        namespace if isinstance(namespace, str) and namespace.isprintable() else "",
    )


def _clean(value: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    metadata = {n: v for n, v in value["metadata"].items() if n not in SERVER_FIELDS}
    metadata["namespace"] = namespace
    return {"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": metadata, "spec": value["spec"]}


def _dump(document: Mapping[str, Any]) -> str:
    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(document, stream)
    return stream.getvalue()
