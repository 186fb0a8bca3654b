"""Code of the user's, looked at without being run: does it parse, does it have the class, does anyone run it."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace

from control.analyze.subject import Subject
from control.api.field_errors import did_you_mean
from control.api.kinds.python_filter import PythonFilterSpec
from control.api.resource import Resource
from control.api.violation import Violation

HOOKS = ("on_request", "on_request_body", "on_response", "on_response_body")
"""Of `sidecar.filters.api.Filter`."""

_BLOCK = re.compile(r"""\s*-?\s*["']?source["']?\s*:\s*\|""")


def python_filters(subject: Subject) -> Iterator[Violation]:
    """Errors for what no sidecar would take, a warning for what no sidecar has."""
    for resource in subject.world.of_kind("PythonFilter"):
        spec = resource.spec
        assert isinstance(spec, PythonFilterSpec)
        if spec.source is not None:
            yield from _source(resource, spec, spec.source)
        selector = spec.selector.match_labels if spec.selector else {}
        roots = ("remora-system", "istio-system")
        near = [w for w in subject.world.workloads.values() if resource.namespace in (w.namespace, *roots)]
        if selector and not any(selector.items() <= workload.effective_labels.items() for workload in near):
            message = "selects no workload that is registered; the filter has no effect until one is"
            yield resource.violation(("spec", "selector"), message, "warning")


def _source(resource: Resource, spec: PythonFilterSpec, source: str) -> Iterator[Violation]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        line = error.lineno or 1
        yield _at(resource, line, f"is not Python: line {line}: {error.msg}")
        return
    except (ValueError, RecursionError, MemoryError) as error:
        yield _at(resource, 1, f"is not Python: {error}")
        return
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = classes.get(spec.class_name)
    if found is None:
        # It may be made in another way, by an import or an assignment: then a sidecar finds out.
        if not any(_names(node, spec.class_name) for node in tree.body):
            there = f"; it has {', '.join(sorted(classes)[:5])}" if classes else ""
            guess = did_you_mean(spec.class_name, sorted(classes))
            message = f"is {spec.class_name}, a class that the source does not have{guess or there}"
            yield resource.violation(("spec", "class"), message)
        return
    for node in found.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("on_"):
            continue
        if node.name not in HOOKS:
            guess = did_you_mean(node.name, list(HOOKS)) or f"; hooks are {', '.join(HOOKS)}"
            yield _at(resource, node.lineno, f"line {node.lineno}: {node.name} is no hook{guess}")


def _names(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return any((alias.asname or alias.name) in (name, "*") for alias in node.names)
        case ast.Assign():
            return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        case ast.ClassDef() | ast.FunctionDef() | ast.Expr():
            return False
        case _:
            return True  # if, try, with, ...: anything may be within


def _at(resource: Resource, line: int, message: str) -> Violation:
    """A finding in a line of the source, which is counted from 1: where that is in the file, if it is a block there."""
    violation = resource.violation(("spec", "source"), message)
    key = resource.lines.get(("spec", "source"))
    if key is None or not resource.text_line:
        return violation
    text = resource.text.splitlines()
    at = key - resource.text_line
    if 0 <= at < len(text) and _BLOCK.match(text[at]) and at + line < len(text):
        return replace(violation, line=key + line)
    return violation
