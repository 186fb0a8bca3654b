"""A user's template: a partial pod, written as YAML. Parsed and checked when the settings are read, not per pod.

Templates have no placeholders: nothing of a pod is ever text in them, so no annotation can become syntax. What a
container needs to know of its pod it is told as everywhere in Kubernetes, by `$(VARIABLE)` and the downward API.
"""

from functools import lru_cache
from typing import Any

from control.api.yaml_documents import NotYaml, read
from control.injector.strategic_merge import MergeError, check_patch

MAX_TEMPLATE_BYTES = 256 * 1024
_TOP = ("apiVersion", "kind", "metadata", "spec")


class TemplateError(ValueError):
    """The template is no partial pod; the message says where."""


@lru_cache(maxsize=64)
def parse_template(text: str) -> dict[str, Any]:
    """The partial pod, to be merged and not to be changed. Raises TemplateError."""
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"is larger than {MAX_TEMPLATE_BYTES:,} bytes; a template says only what is special")
    documents = list(read(text))
    for document in documents:
        if isinstance(document, NotYaml):
            raise TemplateError(f"line {document.line}: {document.path or 'template'} {document.message}")
    if len(documents) != 1:
        raise TemplateError(f"has {len(documents)} documents; a template is one")
    document = documents[0]
    assert not isinstance(document, NotYaml)
    value = document.value
    if not isinstance(value, dict):
        raise TemplateError("is no mapping; write metadata: and spec: as in a Pod")
    for key in value:
        if key not in _TOP:
            line = document.lines.get((key,), document.line)
            raise TemplateError(f"line {line}: {key} is no field of a Pod that a template sets; use metadata and spec")
    if value.get("kind", "Pod") != "Pod" or value.get("apiVersion", "v1") != "v1":
        raise TemplateError("is of another kind; a template is a partial Pod of apiVersion v1")
    patch = {key: value[key] for key in ("metadata", "spec") if value.get(key) is not None}
    try:
        check_patch(patch)
    except MergeError as error:
        raise TemplateError(str(error)) from None
    return patch
