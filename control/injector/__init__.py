"""Sidecars for pods: one pure function from pod and settings to a JSON patch, and the settings."""

from control.injector.inject import inject
from control.injector.outcome import Denied, Finding, Injected, Operation, Outcome, Skipped
from control.injector.settings import InjectorSettings, NamespaceFacts

__all__ = [
    "Denied",
    "Finding",
    "Injected",
    "InjectorSettings",
    "NamespaceFacts",
    "Operation",
    "Outcome",
    "Skipped",
    "inject",
]
