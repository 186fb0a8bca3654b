"""One file of manifests: its pods changed, its text as little as that takes, and read again to be sure."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from control.api import yaml_documents
from control.api.resource import line_of, spell
from control.injector.json_patch import same
from remora.documents import Document
from remora.failure import Failure
from remora.inject import render
from remora.inject.edit import CannotEdit, Edit, edited, edits
from remora.inject.pods import NoPod, Path, Place, looks_like_one, places, replaced


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change makes of a pod, and what is to be said about it: each with where in the pod."""

    pod: dict[str, Any] | None
    """None: it stays as it is."""
    remarks: Sequence[tuple[Path, str]] = ()
    errors: Sequence[tuple[Path, str]] = ()


Change = Callable[[Place], Changed]


@dataclass(slots=True)
class Manifest:
    """A file after its change."""

    text: str
    documents: list[Any] = field(default_factory=list)
    """The same as data."""
    remarks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """With any of them the rest is not to be used."""


def changed(file: Document, change: Change) -> Manifest:
    """Every pod of the file given to `change`. Mistakes are in the answer, all of them."""
    result = Manifest(file.text)
    read: list[yaml_documents.Document] = []
    for each in yaml_documents.read(file.text):
        if isinstance(each, yaml_documents.NotYaml):
            where = f"{each.path}: " if each.path else ""
            result.errors.append(f"{file.name}:{each.line}: {where}{each.message}")
        else:
            read.append(each)
    if result.errors:
        return result
    result.documents = [_change(file.name, document, change, result) for document in read]
    if result.errors or all(map(same, result.documents, (document.value for document in read))):
        return result
    before = [document.value for document in read]
    result.text = _json(file.text, before, result.documents) or _yaml(file, before, result)
    return result


def _change(name: str, document: yaml_documents.Document, change: Change, result: Manifest) -> Any:
    value = document.value
    known = False
    try:
        for place in places(document.value):
            known = True
            done = change(place)
            subject = f"{place.kind}/{place.name or '?'}"
            for path, message in done.remarks:
                result.remarks.append(_said(name, document, subject, (*place.path, *path), message))
            for path, message in done.errors:
                result.errors.append(_said(name, document, subject, (*place.path, *path), message))
            if done.pod is not None:
                value = replaced(value, place.path, done.pod)
    except NoPod as error:
        kind = value.get("kind", "?")
        result.errors.append(_said(name, document, f"{kind}/?", error.path, str(error)))
    else:
        if not known and looks_like_one(value):
            message = "is left as it is: no kind that is known to hold pods; the webhook injects into its pods"
            result.remarks.append(_said(name, document, f"{value['kind']}/?", (), message))
    return value


def _said(name: str, document: yaml_documents.Document, subject: str, path: Path, message: str) -> str:
    """`file:line: kind/name: field: message`."""
    line = line_of(document.lines, path, document.line)
    where = f"{spell(path)}: " if path else ""
    return f"{name}:{line}: {subject}: {where}{message}"


def _json(text: str, before: list[Any], after: list[Any]) -> str | None:
    """The file as JSON, indented as it was. None: it is YAML."""
    if not text.lstrip().startswith("{") or len(before) != 1:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    stripped = text.strip()
    for indent in (2, 4, "\t", None):
        for ascii_only in (False, True):
            if json.dumps(data, indent=indent, ensure_ascii=ascii_only) == stripped:
                break
        else:
            continue
        break
    else:
        if "\n" not in stripped and json.dumps(data, separators=(",", ":"), ensure_ascii=False) == stripped:
            return text.replace(stripped, json.dumps(after[0], separators=(",", ":"), ensure_ascii=False))
        indent, ascii_only = (4 if '\n    "' in text and '\n  "' not in text else 2), False
    return text.replace(stripped, json.dumps(after[0], indent=indent, ensure_ascii=ascii_only))


def _yaml(file: Document, before: list[Any], result: Manifest) -> str:
    nodes = list(_nodes(file.text))
    if len(nodes) != len(before):
        raise Failure(f"{file.name}:1: its documents cannot be told apart; write one in each file")
    pieces: list[Edit] = []
    anew: list[int] = []
    for index, (node, old, new) in enumerate(zip(nodes, before, result.documents, strict=True)):
        if same(old, new):
            continue
        try:
            _refuse_aliases(node)
            found = edits(file.text, node, old, new)
            edited(file.text, found)
            pieces += found
        except (CannotEdit, ValueError):
            anew.append(index)
    text = edited(file.text, pieces + [_whole(file.text, nodes[i], result.documents[i]) for i in anew])
    if not _says(text, result.documents):
        # What cannot be explained is not kept: each changed document anew, as plain as can be.
        anew = [i for i, (old, new) in enumerate(zip(before, result.documents, strict=True)) if not same(old, new)]
        text = edited(file.text, [_whole(file.text, nodes[i], result.documents[i]) for i in anew])
        if not _says(text, result.documents):
            raise Failure(f"{file.name}:1: cannot be written so that it says what it should; write it in plain YAML")
    for index in anew:
        line = nodes[index].start_mark.line + 1
        result.remarks.append(
            f"{file.name}:{line}: is written with anchors, or otherwise so that it had to be written anew as a whole: "
            "comments in this document are lost"
        )
    return text


def _nodes(text: str) -> Iterator[Node]:
    try:
        for node in YAML(typ="safe", pure=True).compose_all(text):
            if not isinstance(node, ScalarNode) or str(node.tag) != "tag:yaml.org,2002:null":
                yield node
    except YAMLError as error:  # read once already
        raise Failure(str(error).splitlines()[0]) from error


def _refuse_aliases(node: Node) -> None:
    """What is used twice is written once: a change of one use would be one of all."""
    seen: set[int] = set()
    left = [node]
    while left:
        each = left.pop()
        if id(each) in seen or each.anchor:
            raise CannotEdit("it has anchors")
        seen.add(id(each))
        if isinstance(each, MappingNode):
            left += (part for pair in each.value for part in pair)
        elif isinstance(each, SequenceNode):
            left += each.value


def _whole(text: str, node: Node, value: Any) -> Edit:
    """The document's text from its first field to where the next one, or the file, begins."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    lines = "\n".join(render.block(value, 0))
    return Edit(start, end, f"{lines}\n" if text[start:end].endswith("\n") else lines)


def _says(text: str, wanted: list[Any]) -> bool:
    found = list(yaml_documents.read(text))
    return len(found) == len(wanted) and all(
        not isinstance(each, yaml_documents.NotYaml) and same(each.value, value)
        for each, value in zip(found, wanted, strict=True)
    )
