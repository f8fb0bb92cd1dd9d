"""Rationale distillation as sections of configs: the exercises, the student, and how it is taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmcl.data.texts.exercises import Exercises
    from mmcl.models.text_to_text import TextToText
    from mmcl.rationales.discriminator import Discriminator
    from mmcl.rationales.recipe import Recipe
    from mmcl.rationales.terms import Weights
    from mmcl.rationales.voting import Voted


class ExercisesSection(StrictModel):
    """Exercises, and whose rationales are taught."""

    name: Literal["svamp", "cqa", "anli", "esnli", "slurp_text"] = Field("svamp", description="data set")
    root: str | None = Field(None, description="its folder; none looks in MMCL_DATA and in the cache")
    teachers: tuple[str, ...] | None = Field(None, description="whose completions, the first alone for dss; none: all")
    completions: str | None = Field(None, description="folder of further teachers, such as mmcl rationales writes")
    size: int | None = Field(None, ge=1, description="train on so many exercises, the first; none: all")
    test: str = Field("test", description="split to test on; the epoch is chosen on valid")
    test_size: int | None = Field(None, ge=1, description="choose and test on so many; none: all")

    def open(self, split: str) -> Exercises:
        """Open a split, that for training with rationales."""
        from mmcl.data import open_dataset

        train = split == "train"
        options: dict[str, Any] = {"size": self.size if train else self.test_size}
        options |= {"teachers": self.teachers, "completions": self.completions}
        opened: Any = open_dataset(self.name, split, self.root, **options)
        exercises: Exercises = opened
        return exercises


class StudentSection(StrictModel):
    """The model that learns."""

    name: str | None = Field(None, description="hub id or folder of a T5; none: a small one from scratch")
    download: bool = Field(False, description="fetch what is not on this machine from the hub")
    vocabulary: int = Field(4000, ge=1, description="subwords, from scratch")
    dim: int = Field(192, ge=1, description="width, from scratch")
    layers: int = Field(3, ge=1, description="of encoder and decoder, from scratch")
    heads: int = Field(4, ge=1, description="of attention, from scratch")
    dropout: float = Field(0.1, ge=0, lt=1, description="from scratch")
    longest: int = Field(512, ge=1, description="tokens that are read or learnt to be written at most")

    def build(self, exercises: Exercises) -> TextToText:
        """Build the student; one from scratch learns its subwords from exercises and rationales."""
        from mmcl.models.text_to_text import TextToText

        if self.name is not None:
            return TextToText.pretrained(self.name, download=self.download, longest=self.longest)
        texts = [
            text
            for each in exercises.exercises
            for text in (each.question, each.label, *(rationale.text for rationale in each.rationales))
        ]
        sizes = self.model_dump(exclude={"name", "download"})
        return TextToText.from_scratch(texts, **sizes)


@section_of("mmcl.rationales.terms:Weights")
class WeightsSection(StrictModel):
    """Weights of the loss terms; see :class:`mmcl.rationales.terms.Weights`."""

    def build(self) -> Weights:
        """Return them as losses take them."""
        from mmcl.rationales.terms import Weights

        return Weights(**self.model_dump())


@section_of(
    "mmcl.rationales.discriminator:pretrain_discriminator", without=("discriminator", "questions", "voted", "seed")
)
class DiscriminatorSection(StrictModel):
    """Pre-training of the discriminator; see :func:`mmcl.rationales.discriminator.pretrain_discriminator`."""

    def build(
        self, student: TextToText, questions: Sequence[str], voted: Sequence[Voted], seed: int, device: str
    ) -> Discriminator:
        """Make it of a student's encoder, and pre-train it."""
        from mmcl.rationales.discriminator import Discriminator, pretrain_discriminator

        discriminator = Discriminator(student).to(device)
        pretrain_discriminator(discriminator, questions, voted, seed=seed, **self.model_dump())
        return discriminator


@section_of("mmcl.distributed:launch", without=("devices", "nodes", "timeout"))
@section_of("mmcl.rationales.recipe:Recipe", without=("weights",))
class RationaleSection(StrictModel):
    """Exercises, a student, and how it is taught; see :class:`mmcl.rationales.distill.Recipe`."""

    data: ExercisesSection = ExercisesSection()
    student: StudentSection = StudentSection()
    use_label: bool = Field(False, description="good are rationales that come to the label, not those most agree on")
    epochs: int = Field(20, ge=1, description="each of them epoch_batches batches")
    batch_size: int = Field(32, ge=1, description="exercises a batch")
    weights: WeightsSection = WeightsSection()
    answering: Literal["write", "choose"] = Field("write", description="write an answer, or choose the likeliest one")
    answer_length: int = Field(32, ge=1, description="tokens of an answer at most")
    discriminator: DiscriminatorSection = DiscriminatorSection()

    @model_validator(mode="after")
    def _someone_teaches(self) -> RationaleSection:
        if self.data.teachers is not None and not self.data.teachers:
            raise ValueError("data.teachers is empty, expected some, or none for all")
        return self

    @staticmethod
    def student_card(method: str) -> tuple[str, str]:
        """Return what the model card says of a method: a sentence on its training, and the prefix of questions."""
        from mmcl.rationales.lessons import PREDICT

        training = "It was also trained on explanations of the answers that larger models wrote."
        return "" if method == "finetune" else training, "" if method == "single_task" else PREDICT

    def recipe(self) -> Recipe:
        """How the student is trained."""
        from dataclasses import fields

        from mmcl.rationales.recipe import Recipe

        known = {each.name for each in fields(Recipe)} - {"weights"}
        return Recipe(**self.model_dump(include=known), weights=self.weights.build())


Methods = OneOrMore[Literal["finetune", "single_task", "dss", "mi", "qcrd"]]
