"""Config section of a zero-shot evaluation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mmcl.config.model import OneOrMore, StrictModel


class EvaluationSection(StrictModel):
    """A data set, the classes or texts to recognize, and their prompts."""

    name: str = Field(description="name of a data set; `mmcl data ls` lists them")
    root: str | None = Field(None, description="folder of the data set; none: look in MMCL_DATA and in the cache")
    split: str = Field("test", description="split to evaluate on; use valid to choose settings")
    options: dict[str, Any] = Field({}, description="options of the data set")
    title: str | None = Field(None, description="title in the result table; none: made from name and by")
    classes: OneOrMore[str] = Field((), description="classes to evaluate, with their samples; empty: all")
    by: Literal["class", "superclass", "text"] = Field("class", description="what to recognize")
    templates: OneOrMore[str] = Field(("{}",), min_length=1, description="prompts; evaluated are the first, and all")
    prompts: str | None = Field(None, description="JSON file {class: [texts]} of prompts, in place of templates")
    ceiling: bool = Field(False, description="also evaluate with transcripts in place of speech")
    candidates: int | None = Field(None, ge=2, description="number of candidate texts; none: all of the split")
    probe: OneOrMore[str] = Field((), description="splits to train a linear probe on; empty: no probe")
