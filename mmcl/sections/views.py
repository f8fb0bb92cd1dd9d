"""Config sections of a multimodal classifier, and the function that trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.encoders import EncoderSection
from mmcl.sections.optimizer import OptimizerSection
from mmcl.sections.slu import OF_THE_LOOP, DataSection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmcl.config.checks import Checks
    from mmcl.data.base import Dataset
    from mmcl.encoders.base import Encoder
    from mmcl.encoders.views import CachedViews
    from mmcl.models import MultimodalClassifier
    from mmcl.runs.tracking import Tracking
    from mmcl.strategies.held_out import HeldOut


_TWO_SETS = "spoken_written_digits"  # made of two data sets, so `mmcl data ls` does not list it


class ViewsSection(DataSection):
    """A data set of several views, and its splits for training and testing."""

    name: str = Field(
        "rosmap",
        description="name of the data set, as listed by `mmcl data ls`; or spoken_written_digits; or table for files "
        "of your own",
    )

    def open(self, splits: Sequence[str], **options: Any) -> Dataset:
        """Open and concatenate splits.

        Args:
            splits: names of splits.
            **options: options of the data set; they override those of the config.

        Raises:
            ConfigError: an option is unknown, ``table`` has no root, or the splits cannot be concatenated.
        """
        from mmcl import data
        from mmcl.data.catalog import check_options
        from mmcl.data.fingerprint import opened

        chosen = {**self.options, **options}
        parts: list[Dataset] = []
        for split in splits:
            if self.name != _TWO_SETS:
                parts.append(data.open_dataset(self.name, split, self.root, **chosen))
                continue
            check_options(self.name, data.SpokenWrittenDigits, chosen)
            made = data.SpokenWrittenDigits(self.root, split, **chosen)
            parts.append(opened(made, self.name, split, root=self.root, **chosen))
        return self.join(parts)

    def check(self, checks: Checks, splits: Sequence[str], **options: Any) -> Dataset | None:
        """Check splits; see :meth:`open`, whose ``options`` here come from the setting ``folds``.

        Returns:
            The data set; None if a split is faulty.
        """
        from mmcl.data.catalog import check_dataset_options
        from mmcl.sections.checks import open_split

        if self.name == _TWO_SETS:
            return checks.attempt("data", lambda: self.open(splits, **options))
        if options and not checks.passes("folds", lambda: check_dataset_options(self.name, options)):
            return None
        chosen = {**self.options, **options}
        parts = [open_split(checks, "data", self.name, split, self.root, chosen) for split in splits]
        opened = [part for part in parts if part is not None]
        if len(opened) < len(parts):
            return None
        return checks.attempt("data.train", lambda: self.join(opened))


@section_of("mmcl.distributed:launch", without=("devices", "nodes", "timeout"))
@section_of("mmcl.strategies.template:MMCLTemplate", without=(*OF_THE_LOOP, "eval_batch_size", "bucket", "columns"))
@section_of("mmcl.strategies.held_out:HeldOut", without=("data", "on"))
@section_of("mmcl.strategies.m3col:M3CoL", without=("contrast", "share"))
@section_of("mmcl.models.fusion:MultimodalClassifier", without=("encoders",))
class MultimodalSection(SignatureModel):
    """Data of several views, a multimodal classifier, and its training."""

    data: ViewsSection = ViewsSection()
    views: dict[str, EncoderSection] = Field(..., min_length=1, description="encoder of each view, by name of the view")
    scale: Literal["range", "deviation", "none"] = Field(
        "range", description="scaling of numeric features, from the training data"
    )
    optimizer: OptimizerSection = OptimizerSection()
    epochs: int = Field(10, ge=1, description="passes over the training data")
    batch_size: int = Field(64, ge=1, description="samples per step")

    def open(self, splits: Sequence[str], **options: Any) -> CachedViews:
        """Open and concatenate splits, with the features of frozen encoder layers cached.

        Args:
            splits: names of splits.
            **options: options of the data set; they override those of the config.
        """
        from mmcl.encoders.views import CachedViews

        data = self.data.open(splits, **options)
        return CachedViews(data, self.encoders(data, list(self.views)), device=self.device)

    def encoders(self, data: object, views: Sequence[str]) -> dict[str, Encoder]:
        """Build the encoders of views, with options from the data."""
        return {view: self.views[view].encoder(**self.options_of(data, view)) for view in views}

    def options_of(self, data: object, view: str) -> dict[str, int]:
        """Return the options of a view's encoder that the data determines: sizes of images, and number of features."""
        return self.views[view].data_options(data, view)

    def check(self, checks: Checks, data: Any) -> None:
        """Check the encoders of views against a data set."""
        from mmcl.data.attributes import attributes_of
        from mmcl.sections.checks import check_encoder

        modalities = attributes_of(data).modalities
        for view, section in self.views.items():
            if modalities.get(view) == section.modality:
                check_encoder(checks, f"views.{view}", section, section.modality, **self.options_of(data, view))
                continue
            known = ", ".join(f"{name} ({modality})" for name, modality in modalities.items()) or "none"
            checks.add("views", f"the encoder of view {view} is for {section.modality}, but the views are {known}")

    def build(self, train: CachedViews, views: Sequence[str]) -> MultimodalClassifier:
        """Build a model of views, with numeric features scaled by the statistics of ``train``."""
        from mmcl.encoders.tabular import TabularEncoder
        from mmcl.models import MultimodalClassifier

        encoders = self.encoders(train, views)
        for view, encoder in encoders.items():
            if isinstance(encoder, TabularEncoder) and self.scale != "none":
                encoder.scale(train.vectors(view), self.scale)
        settings = self.model_dump(include={"fusion", "dim", "hidden", "dropout", "view_dropout"})
        return MultimodalClassifier(encoders, **settings)


def fit(
    settings: MultimodalSection,
    data: Mapping[str, CachedViews],
    views: Sequence[str],
    contrast: str,
    seed: int,
    *,
    on: str | int,
    tracking: Tracking,
    saved: dict[str, Any] | None = None,
) -> tuple[MultimodalClassifier, HeldOut]:
    """Train a model on ``data["train"]``, and score it on the held-out data sets.

    Args:
        settings: config section.
        data: ``"train"``, and held-out data sets by name.
        views: views of the model.
        contrast: one of :data:`~mmcl.strategies.m3col.CONTRASTS`.
        seed: seed of weights, mixtures and order.
        on: data set or epoch that chooses the model, see :class:`~mmcl.strategies.held_out.HeldOut`.
        tracking: plugin that logs and shows progress.
        saved: checkpoint written by ``tracking``, to resume from.

    Returns:
        The model after the last epoch, and the plugin with the scores.
    """
    from mmcl import strategies
    from mmcl.data import class_incremental
    from mmcl.seeding import seed_everything
    from mmcl.strategies.held_out import HeldOut
    from mmcl.strategies.m3col import M3CoL

    seed_everything(seed)
    model = settings.build(data["train"], views)
    held_out = {part: each for part, each in data.items() if part != "train"}
    scores = HeldOut(held_out, settings.every, settings.select, on)
    terms = M3CoL(contrast, **settings.model_dump(include={"weight", "view_weight", "pairs", "mix", "released"}))
    strategy = strategies.naive(
        model,
        settings.optimizer.build(model, model.encoders),
        **settings.model_dump(include={"epochs", "batch_size", "precision", "device"}),
        scheduler=settings.optimizer.scheduler(),
        clip_norm=settings.optimizer.clip_norm,
        plugins=[terms, scores, tracking],
    )
    if saved is not None:
        strategy.load_state_dict(saved["training"])
    stream = class_incremental(data["train"], next(iter(held_out.values())), 1).train_stream
    strategy.train(stream[0], eval_streams=[])
    return model, scores
