"""Rules as people write them: text to models, or violations with file, line and path."""

from control.api.kinds import KINDS, Kind, find_kind
from control.api.parse import parse
from control.api.resource import Key, Parsed, Resource
from control.api.services import Service
from control.api.source import SourceFile
from control.api.violation import Violation
from control.api.workload import AppPort, Workload
from control.api.world import World

__all__ = [
    "KINDS",
    "AppPort",
    "Key",
    "Kind",
    "Parsed",
    "Resource",
    "Service",
    "SourceFile",
    "Violation",
    "Workload",
    "World",
    "find_kind",
    "parse",
]
