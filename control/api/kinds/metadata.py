"""`metadata` of every document: the fields people write, and those that a server adds, which change nothing."""

from typing import Annotated, Any

from pydantic import Field

from control.api.model import Model, Unsupported
from control.api.scalars import DnsLabel, Labels, Str, Subdomain

SERVER_FIELDS = ("creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink")
"""What `kubectl get -o yaml` shows and no one writes: accepted and dropped."""


class Metadata(Model):
    """Names and labels."""

    name: Subdomain
    namespace: DnsLabel = "default"
    labels: Labels = Field(default_factory=dict)
    annotations: dict[Str, Str] = Field(default_factory=dict)
    finalizers: Unsupported = None
    generate_name: Unsupported = None
    owner_references: Unsupported = None
    creation_timestamp: Any = None
    resource_version: Annotated[Any, Field()] = None
    uid: Any = None
    generation: Any = None
    managed_fields: Any = None
    self_link: Any = None
