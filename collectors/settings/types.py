"""What every model of the settings is made of: nothing unknown accepted, durations and sizes with units, files."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mesh.files import NotPrivate, read_token

DIRECTORY = "directory"
"""In the validation context: what relative paths are relative to, the directory of the settings file."""

MAX_SECRET_BYTES = 64 * 1024

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?")
_BYTES = {
    "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip


class Model(BaseModel):
    """A mapping of the YAML. Unknown fields are errors; text is no number and 1 is not true."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _sequence(cls, value: object, info: ValidationInfo) -> object:
        """A strict tuple takes no list, and YAML has nothing else."""
        if not isinstance(value, list) or info.field_name is None:
            return value
        kinds = _kinds(cls.model_fields[info.field_name].annotation)
        return tuple(value) if tuple in kinds else frozenset(value) if frozenset in kinds else value


def _kinds(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(kind for one in get_args(annotation) for kind in _kinds(one))
    return (origin,)


def wrong(message: str) -> PydanticCustomError:
    """An error whose text is `message` as it stands, e.g. "is 5; it must be 1 to 3"."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """`10s`, `1.5h`, `200ms` as seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)) is not None:
        return float(match[1]) * _SECONDS[match[2]]
    raise wrong("is no duration; write a number with its unit, one of ms, s, m, h, d: 30s")


def parse_size(value: object) -> int:
    """`64MiB`, `1.5GB` or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)) is not None:
        return int(float(match[1]) * _BYTES[match[2] or "B"])
    raise wrong("is no size; write bytes or a number with its unit, one of KiB, MiB, GiB, kB, MB, GB: 64MiB")


def _as_default(parse: Any) -> Any:
    # Defaults are not validated, so that only what was written comes here.
    return BeforeValidator(parse)


Duration = Annotated[float, _as_default(parse_duration)]
"""Seconds in the model; `10s` in the YAML. Bound it with Field(ge=..., le=...)."""

Size = Annotated[int, _as_default(parse_size)]
"""Bytes in the model; `64MiB` in the YAML."""


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise wrong("is no path; write the path of a file as text")
    return Path((info.context or {}).get(DIRECTORY, "."), Path(value).expanduser())


def _readable(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info)
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}: {path}") from error


AnyPath = Annotated[Path, BeforeValidator(_path)]
"""A path that need not be there; relative to the settings file."""

ReadableFile = Annotated[Path, BeforeValidator(_readable)]
"""A file that must be there and readable when the settings are checked, such as a CA bundle."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a file. Read when it is used, so that a new one is taken without a restart; never shown."""

    path: Path

    def read(self) -> str:
        """Without the newline at its end. Raises OSError, NotPrivate (readable by others), ValueError (empty, larger
        than 64 KiB or no UTF-8)."""
        data = read_token(self.path)
        if len(data) > MAX_SECRET_BYTES:
            raise ValueError(f"{self.path} has more than {MAX_SECRET_BYTES} bytes")
        text = data.decode("utf-8").rstrip("\r\n")
        if not text:
            raise ValueError(f"{self.path} is empty")
        return text

    def read_header(self) -> str:
        """For the value of a header. Raises as `read`, and ValueError for what none can hold: other than printable
        ASCII, or a space at an end. The text is not in it: a client that gets such a value names it in its error."""
        text = self.read()
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise ValueError(
                f"{self.path} has something that no header can hold: other than printable ASCII, a line break, or a "
                "space at its beginning or end"
            )
        return text

    def __str__(self) -> str:
        return f"the secret in {self.path}"


def _secret(value: object, info: ValidationInfo) -> Secret:
    secret = Secret(_path(value, info))
    try:
        secret.read()
    except NotPrivate as error:
        raise wrong(f"is refused: {error}") from error
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}: {secret.path}") from error
    except UnicodeDecodeError as error:
        raise wrong(f"is refused: {secret.path} is no UTF-8 text") from error
    except ValueError as error:
        raise wrong(f"is refused: {error}") from error
    return secret


SecretFile = Annotated[
    Secret, BeforeValidator(_secret), PlainSerializer(lambda secret: str(secret.path), return_type=str)
]
"""Name such a field `..._file`. The only way in for secrets: the file is its owner's alone (0600; a group may read it,
0640). Settings that have the secret itself are refused with a hint at this field."""
