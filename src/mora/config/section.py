"""The base of every part of a configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen settings; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
