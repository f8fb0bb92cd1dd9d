"""Config section of class-incremental learning on data of any modality, or of several views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.config.signature import section_of
from mmcl.sections.closed_form import FREEZE, check_frozen_encoder, trains_encoder
from mmcl.sections.encoders import DataEncoderSection, EncoderSection
from mmcl.sections.incremental import IncrementalSection
from mmcl.sections.views import ViewsSection

if TYPE_CHECKING:
    from mmcl.config.checks import Checks
    from mmcl.data.base import Dataset
    from mmcl.encoders.base import Encoder
    from mmcl.encoders.feature_dataset import FeatureDataset
    from mmcl.encoders.fused_views import FusedViews
    from mmcl.encoders.views import CachedViews
    from mmcl.runs.calibrate import ValidationData


@section_of("mmcl.encoders.fused_views:FusedViews", without=("encoders",))
class ModalitiesSection(IncrementalSection):
    """Data of any modality, its encoder or the encoders of its views, and the settings of class-incremental runs."""

    data: ViewsSection = ViewsSection(name="mnist")
    encoder: DataEncoderSection = DataEncoderSection()
    views: dict[str, EncoderSection] = Field(
        {}, description="encoder of each view, by name of the view, in place of encoder; empty: follow the data"
    )
    texts: Literal["class", "sample"] = Field(
        "class", description="texts in coconut's text space: names of classes, or the texts of samples"
    )

    def trains_encoder(self) -> bool:
        """Return whether an encoder or the fusion of the views is trained."""
        encoders: Sequence[EncoderSection | DataEncoderSection] = [*self.views.values()] or [self.encoder]
        return self.fusion != "concat" or self.dim is not None or any(map(trains_encoder, encoders))

    def has_prompts(self) -> bool:
        """Return whether prompts are trained in front of an encoder."""
        encoders: Sequence[EncoderSection | DataEncoderSection] = [*self.views.values()] or [self.encoder]
        return any(each.prompts is not None for each in encoders)

    def check_frozen(self, *, is_trained: bool) -> None:
        """Check that closed-form strategies get encoders that need no training; raises ConfigError."""
        trained = [view for view, section in self.views.items() if trains_encoder(section)]
        remedy = FREEZE if not self.views else "set fusion to concat and leave out dim"
        if trained:
            remedy = f"set views.{trained[0]}.frozen to true and leave out views.{trained[0]}.tune_from"
        check_frozen_encoder(self.strategy, is_trained=is_trained, remedy=remedy)

    def open(self, splits: Sequence[str]) -> Dataset:
        """Open and concatenate splits; exercises become texts with labels."""
        return labelled(self.data.open(splits))

    def sections(self, data: Dataset) -> dict[str, EncoderSection]:
        """Return the section of each view's encoder, by name of the view.

        Raises:
            ConfigError: the data lacks a view, or a view has another modality than its encoder.
        """
        found = views_of(data)
        for view, section in self.views.items():
            if found.get(view) != section.modality:
                raise error_of_views(f"the encoder of view {view} is for {section.modality}", found, "correct views")
        if self.views:
            return self.views
        wanted, modalities = self.encoder.modality, found.values()
        if wanted is not None and wanted not in modalities:
            known = next(iter(modalities), None)
            raise error_of_views(f"the encoder is for {wanted}", found, f"set encoder.modality={known}")
        # Texts of recordings are transcripts, which a model of speech does not get.
        by_default = {view: each for view, each in found.items() if each != "text" or "audio" not in modalities}
        if not by_default:
            raise error_of_views("a classifier needs inputs", found, "set data.name to data with inputs")
        if wanted is None and self.encoder.name is not None and len(by_default) > 1:
            raise error_of_views("encoder.name names one encoder", found, "set encoder.modality, or views")
        chosen = by_default if wanted is None else {view: each for view, each in found.items() if each == wanted}
        return {view: self.encoder.of_modality(modality) for view, modality in chosen.items()}

    def build_encoder(self, data: Dataset, shared: Mapping[str, Encoder] | None = None) -> Encoder | FusedViews:
        """Build the encoder of the data: of one view, or of several views with their fusion.

        Args:
            data: training data.
            shared: frozen encoders of views to use again.
        """
        from mmcl.encoders.fused_views import FusedViews

        sections = self.sections(data)
        encoders = {
            view: (shared or {}).get(view) or section.encoder(**section.data_options(data, view))
            for view, section in sections.items()
        }
        (view, encoder), *others = encoders.items()
        if not others and view == encoder.modality and self.dim is None:
            return encoder
        return FusedViews(encoders, fusion=self.fusion, dim=self.dim)

    def cached(self, data: Dataset, encoder: Encoder | FusedViews) -> FeatureDataset | CachedViews:
        """Return a data set with cached features, and with the texts of the config."""
        from mmcl.encoders import cached_features
        from mmcl.encoders.fused_views import FusedViews
        from mmcl.encoders.views import CachedViews

        options = self.model_dump(include={"device", "precision"})
        cached: FeatureDataset | CachedViews
        if isinstance(encoder, FusedViews):
            cached = CachedViews(data, dict(encoder.views()), keep="auto", **options)
        else:
            cached = cached_features(data, encoder, **options)
        if self.texts == "class":
            cached.texts = [data.classes[label] for label in data.labels]
        return cached

    def validation(self, classes: Sequence[str], encoder: Encoder | FusedViews) -> ValidationData:
        """Open the split ``valid`` to calibrate with, see :func:`~mmcl.runs.calibrate.validation_data`."""
        from mmcl.runs.calibrate import validation_data

        used = {*self.data.train, self.data.test}
        return validation_data(lambda split: self.open([split]), used, classes, lambda data: self.cached(data, encoder))

    def check(self, checks: Checks) -> tuple[Dataset, Dataset] | None:
        """Check the data and the encoders of its views.

        Returns:
            The training data and the test data; None if a split is faulty or not generated yet.
        """
        from mmcl.sections.checks import check_encoder

        splits = [self.data.check(checks, names) for names in (self.data.train, [self.data.test])]
        given = [each for each in splits if each is not None]
        opened = checks.attempt("data", lambda: [labelled(each) for each in given])
        if opened is None or len(opened) < len(splits):
            return None
        key = "views" if self.views else "encoder"
        found = checks.attempt(key, lambda: self.sections(opened[0]))
        for view, section in (found or {}).items():
            where = f"views.{view}" if self.views else "encoder"
            check_encoder(checks, where, section, section.modality, **section.data_options(opened[0], view))
        return opened[0], opened[1]


def labelled(data: Any) -> Dataset:
    """Return exercises as texts with labels, and any other data set as it is."""
    from mmcl.data import LabelledExercises
    from mmcl.data.texts.exercises import Exercises

    return LabelledExercises(data) if isinstance(data, Exercises) else data


def views_of(data: Dataset) -> dict[str, str]:
    """Return the modality of each view that can be classified, by name of the view.

    Texts count unless they only repeat the names of the classes.

    >>> class Photos:
    ...     classes, labels, texts = ("cat", "dog"), [0], ["cat"]
    ...     def __len__(self): return 1
    ...     def __getitem__(self, row): return {"image": [[0.0]], "text": "cat"}
    >>> views_of(Photos())
    {'image': 'image'}
    """
    from mmcl.data.attributes import attributes_of
    from mmcl.data.modalities import modalities_of

    stated = dict(attributes_of(data).modalities) or {name: name for name in modalities_of(data)}
    named = all(text == data.classes[label] for text, label in zip(data.texts, data.labels, strict=True))
    return {view: modality for view, modality in stated.items() if modality != "text" or not named}


def error_of_views(problem: str, found: Mapping[str, str], remedy: str) -> Exception:
    """Return the error of encoders that do not fit the views of the data."""
    from mmcl.errors import ConfigError

    known = ", ".join(f"{view} ({modality})" for view, modality in found.items()) or "none"
    return ConfigError(f"{problem}, but the views of the data are {known}: {remedy}")
