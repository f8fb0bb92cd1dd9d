"""Config sections of rationale distillation: exercises, student, loss weights and training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import SignatureModel, section_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmcl.config.checks import Checks
    from mmcl.data.texts.exercises import Exercises
    from mmcl.models.text_to_text import TextToText
    from mmcl.rationales.discriminator import Discriminator
    from mmcl.rationales.recipe import Recipe
    from mmcl.rationales.terms import Weights
    from mmcl.rationales.voting import Voted
    from mmcl.runs.calibrate import ValidationData


class ExercisesSection(StrictModel):
    """Exercises with rationales of one or more teachers."""

    options_of_name: ClassVar[tuple[str, ...]] = ("teachers", "completions", "options")

    name: Literal["svamp", "cqa", "anli", "esnli", "slurp_text", "table"] = Field(
        "svamp", description="name of the data set; table for a file of your own"
    )
    root: str | None = Field(
        None, description="folder of the data set, or file for table; none: search MMCL_DATA and the cache"
    )
    options: dict[str, Any] = Field({}, description="options of table, such as {columns: {label: intent}}")
    teachers: tuple[str, ...] | None = Field(
        None, description="teachers to take rationales from, of which dss uses the first; none: all"
    )
    completions: str | None = Field(
        None, description="folder of completions by further teachers, as written by mmcl rationales"
    )
    size: int | None = Field(None, ge=1, description="number of training exercises, from the first; none: all")
    test: str = Field("test", description="split to test on; the epoch is chosen on valid")
    test_size: int | None = Field(
        None, ge=1, description="number of exercises to choose the epoch and to test with; none: all"
    )

    def open(self, split: str) -> Exercises:
        """Open a split; ``size`` applies to ``train``, and ``test_size`` to all others.

        Raises:
            ConfigError: ``table`` has no root, or an option is unknown or not for the data set.
        """
        from mmcl.data import open_dataset
        from mmcl.errors import ConfigError

        options: dict[str, Any] = {"size": self.size if split == "train" else self.test_size}
        if self.name == "table":
            return self._open_table(split, {**self.options, **options})
        if self.options:
            raise ConfigError(f"data.options are options of table, but data.name is {self.name}: remove them")
        options |= {"teachers": self.teachers, "completions": self.completions}
        opened: Any = open_dataset(self.name, split, self.root, **options)
        exercises: Exercises = opened
        return exercises

    def _open_table(self, split: str, options: dict[str, Any]) -> Exercises:
        """Open user data, whose rationales are in the column ``rationale``."""
        from mmcl.data.catalog import check_options
        from mmcl.data.fingerprint import opened
        from mmcl.data.texts.table_text import TableText
        from mmcl.errors import ConfigError

        if self.root is None:
            raise ConfigError("data.root is none, expected a file or folder of your own: set data.root=FILE")
        check_options("table", TableText, options)
        return opened(TableText(self.root, split, **options), self.name, split, root=self.root, **options)

    def check(
        self, checks: Checks, splits: Sequence[str], needing: Sequence[str], otherwise: str
    ) -> list[Exercises] | None:
        """Check splits and rationales.

        Args:
            checks: collects the faults.
            splits: names of the splits.
            needing: names of methods that need rationales.
            otherwise: setting without such methods, as ``key=value``.

        Returns:
            The splits; None if one of them is faulty.
        """
        opened = [each for split in splits if (each := checks.attempt("data", lambda split=split: self.open(split)))]  # type: ignore[misc]
        if len(opened) < len(splits):
            return None
        key = otherwise.partition("=")[0]
        checks.attempt(key, lambda: self.check_rationales(opened[0], needing, otherwise))
        return opened

    def check_rationales(self, exercises: Exercises, needing: Sequence[str], otherwise: str) -> None:
        """Check that exercises have rationales.

        Args:
            exercises: training exercises.
            needing: names of methods that need them.
            otherwise: setting without such methods, for the error.

        Raises:
            ConfigError: no exercise has a rationale.
        """
        from mmcl.errors import ConfigError

        if needing and not any(each.rationales for each in exercises.exercises):
            raise ConfigError(
                f"data.name={self.name} has no rationales, which {', '.join(needing)} need: add a column rationale, or "
                f"set {otherwise}"
            )


class TextsSection(ExercisesSection):
    """Texts with classes and rationales."""

    name: Literal["slurp_text", "esnli", "anli", "table"] = Field(
        "slurp_text", description="name of the data set; table for a file of your own"
    )
    train: str = Field("train", description="split to train on")

    def validation(self, classes: Sequence[str]) -> ValidationData:
        """Open the split ``valid`` to calibrate with, see :func:`~mmcl.runs.calibrate.validation_data`."""
        from mmcl.data import LabelledExercises
        from mmcl.runs.calibrate import validation_data

        return validation_data(lambda split: LabelledExercises(self.open(split)), (self.train, self.test), classes)


@section_of("mmcl.models.text_to_text:TextToText.from_scratch", without=("texts",))
class StudentSection(SignatureModel):
    """The student model."""

    name: str | None = Field(None, description="hub id or folder of a T5; none: a small T5 from scratch")
    download: bool = Field(False, description="download missing files from the hub")
    vocabulary: int = Field(4000, ge=1, description="number of subwords of a T5 from scratch")
    dim: int = Field(192, ge=1, description="width of a T5 from scratch")
    layers: int = Field(3, ge=1, description="number of encoder layers, and of decoder layers, of a T5 from scratch")

    def check(self, checks: Checks) -> None:
        """Check that a pretrained student is on this machine, and that the width of one from scratch is possible."""
        if self.name is not None:
            checks.attempt("student.name", self._find)
        elif self.dim % self.heads:
            checks.add("student.dim", f"student.dim is {self.dim}, expected a multiple of student.heads={self.heads}")

    def _find(self) -> None:
        from mmcl.encoders.gate import without_weights
        from mmcl.models.text_to_text import TextToText

        with without_weights():
            TextToText.pretrained(self.name or "", download=self.download, longest=self.longest)

    def build(self, exercises: Exercises) -> TextToText:
        """Build the student; the subwords of one from scratch are trained on exercises and rationales."""
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
        """Build the weights."""
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
        """Build the discriminator on a student's encoder, and pre-train it."""
        from mmcl.rationales.discriminator import Discriminator, pretrain_discriminator

        discriminator = Discriminator(student).to(device)
        pretrain_discriminator(discriminator, questions, voted, seed=seed, **self.model_dump())
        return discriminator


@section_of("mmcl.distributed:launch", without=("devices", "nodes", "timeout"))
@section_of("mmcl.rationales.recipe:Recipe", without=("weights",))
class RationaleSection(StrictModel):
    """Exercises, student and training; see :class:`mmcl.rationales.recipe.Recipe`."""

    data: ExercisesSection = ExercisesSection()
    student: StudentSection = StudentSection()
    use_label: bool = Field(
        False, description="a rationale is good if its answer is the label, instead of the majority answer"
    )
    epochs: int = Field(20, ge=1, description="number of epochs, of epoch_batches batches each")
    batch_size: int = Field(32, ge=1, description="exercises per batch")
    weights: WeightsSection = WeightsSection()
    answering: Literal["write", "choose"] = Field(
        "write", description="generate the answer (write), or choose the likeliest answer"
    )
    answer_length: int = Field(32, ge=1, description="largest number of tokens of an answer")
    discriminator: DiscriminatorSection = DiscriminatorSection()

    @model_validator(mode="after")
    def _check_teachers(self) -> RationaleSection:
        if self.data.teachers is not None and not self.data.teachers:
            raise ValueError("data.teachers is empty, expected one or more, or none for all")
        return self

    @staticmethod
    def student_card(method: str) -> tuple[str, str]:
        """Return a method's entries in the model card: a sentence on its training, and the prefix of questions."""
        from mmcl.rationales.lessons import PREDICT

        training = "It was also trained on explanations of the answers that larger models wrote."
        return "" if method == "finetune" else training, "" if method == "single_task" else PREDICT

    def recipe(self) -> Recipe:
        """Return the training settings."""
        from dataclasses import fields

        from mmcl.rationales.recipe import Recipe

        known = {each.name for each in fields(Recipe)} - {"weights"}
        return Recipe(**self.model_dump(include=known), weights=self.weights.build())


Methods = OneOrMore[Literal["finetune", "single_task", "dss", "mi", "qcrd"]]
