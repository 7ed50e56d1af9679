"""What every table of a `quorate.toml` is made of."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0)]
OnError = Literal["block", "allow", "escalate"]
Mode = Literal["enforce", "observe"]
Origin = Literal["system", "customer", "assistant", "tool", "retrieved"]
File = Annotated[Path, Field(strict=False)]
LOCAL = "local"
QUOTE = "quote"
KINDS = ("scope", "threat", "moderation")
RESERVED = frozenset(("answer", "deadline"))
"""What no check can be named, because decisions and timelines use it."""


class Table(BaseModel):
    """A table of the file: every key is known, every value has its type."""

    # Strict: TOML has types, so "5" is no number and 1 is no truth.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)
