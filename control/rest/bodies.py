"""What calls carry. Unknown fields are errors."""

from pydantic import BaseModel, ConfigDict, Field

from control.api.source import SourceFile


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Body):
    """A file as the user has it."""

    name: str = Field(max_length=4096)
    text: str

    def source(self) -> SourceFile:
        return SourceFile(self.name, self.text)


class Expectation(_Body):
    """A rule as whoever calls has read it: with any other etag by now, nothing is done. Empty: there was none."""

    kind: str = Field(max_length=100)
    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)
    etag: str = Field(max_length=64)


class ApplyBody(_Body):
    files: list[File] = Field(max_length=10_000)
    expect: list[Expectation] = Field(default=[], max_length=10_000)
    dry_run: bool = False


class Name(_Body):
    """A rule by name; `kind` in any spelling that `get` takes."""

    kind: str = Field(max_length=100)
    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)


class DeleteBody(_Body):
    """Either files or resources."""

    files: list[File] = Field(default=[], max_length=10_000)
    resources: list[Name] = Field(default=[], max_length=10_000)
    expect: list[Expectation] = Field(default=[], max_length=10_000)
    dry_run: bool = False


class AnalyzeBody(_Body):
    files: list[File] = Field(default=[], max_length=10_000)


class ComponentBody(_Body):
    """Whom a component's token is for."""

    namespace: str = "remora-system"
    service_account: str
