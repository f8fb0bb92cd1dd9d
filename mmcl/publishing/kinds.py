"""The part of a model card that depends on the kind of model: summary, usage example and tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmcl.config.tasks import load_task
from mmcl.models.pretrained import TWO_TOWER
from mmcl.models.saved import CLASSIFIER, SEQ2SEQ
from mmcl.models.saved_classifiers import IMAGES, TEXTS
from mmcl.runs.run import Run
from mmcl.text.escape import markdown_code, markdown_text, printable

_MODALITIES = {"audio": "speech", "text": "text", "image": "images", "tabular": "table rows"}
_SAMPLES = {"audio": "a recording", "image": "an image", "tabular": "a row"}
_SLU_TAGS = ("spoken-language-understanding", "continual-learning", "class-incremental-learning")


class ModelKind(NamedTuple):
    """What the card says about a kind of model: summary, Python example, tags, and pipeline and library of the hub."""

    about: str
    use: str
    tags: tuple[str, ...]
    task: str | None = None
    library: str = "mmcl"


class ModelSource(NamedTuple):
    """A model to describe: its run, ``config.json``, strategy, published name, and number of class groups."""

    run: Run
    content: Mapping[str, Any]
    strategy: str
    name: str
    groups: int

    @property
    def load(self) -> str:
        """The Python statement that loads the model."""
        name = json.dumps(f"OWNER/{printable(self.name)}", ensure_ascii=False)
        return f"model = from_pretrained({name}, download=True)  # or the path of this folder"

    @property
    def arrival(self) -> str:
        """How the classes arrived in training."""
        return f" It learned them in {self.groups} groups, one after the other." if self.groups > 1 else ""


def describe_kind(source: ModelSource) -> ModelKind:
    """Describe a model by the ``model_type`` in its ``config.json``."""
    return _KINDS.get(source.content["model_type"], _text_to_text)(source)


def _two_tower(source: ModelSource) -> ModelKind:
    content, library = source.content, "from mmcl.models import from_pretrained\n"
    one, other = (content[side]["encoder"]["modality"] for side in ("first", "second"))
    about = f"Embeds {_MODALITIES[one]} and {_MODALITIES[other]} in a shared space of {content['dim']} dimensions."
    tags = ("two-towers", "contrastive-learning", one, other)
    if "text" not in (one, other):
        use = f'{library}\n{source.load}\nprint(model.tower("{one}"), model.tower("{other}"))'
        return ModelKind(f"{about} Matching samples have similar embeddings.", use, tags, "feature-extraction")
    (queried,) = {one, other} - {"text"}
    about += (
        f" It classifies {_SAMPLES[queried]} zero-shot: the answer is the nearest of the texts given at inference. It "
        "needs no training on these texts."
    )
    file, texts = "order.wav", '{"coffee": ["order a latte"], "lights": ["turn on the lights"]}'
    if queried == "image":
        file, texts = "photo.jpg", '{"coffee": ["a cup of coffee"], "lights": ["a lamp"]}'
    use = f'{library}from mmcl.predict import predict\n\n{source.load}\nprint(predict(model, "{file}", {texts}))'
    return ModelKind(about, use, (*tags, f"zero-shot-{queried}-classification"), "feature-extraction")


def _classifier(source: ModelSource) -> ModelKind:
    content = source.content
    modality = content.get("encoder", {}).get("modality", "audio") if "views" not in content else "views"
    what = {"audio": "a recording of speech", "image": "an image", "text": "a text"}.get(
        modality, f"a sample with {' and '.join(map(markdown_text, content.get('views', ())))}"
    )
    about = f"Classifies {what} as one of {len(content['classes'])} classes.{source.arrival}"
    if modality == "audio":
        use = f"{_load_and_listen(source)}print(model.classes[int(model(batch).logits.argmax())])"
        return ModelKind(about, use, _SLU_TAGS, "audio-classification")
    call = {"image": 'recognize_file("photo.png")', "text": 'recognize_text("a text")'}.get(
        modality, "recognize(sample)  # with an entry for each view"
    )
    use = "from mmcl.predict import open_recognizer\n\n"
    use += f'recognizer = open_recognizer("{printable(source.name)}")  # the path of this folder\n'
    use += f"print(recognizer.{call})"
    task = {"image": "image-classification", "text": "text-classification"}.get(modality)
    return ModelKind(about, use, (*_SLU_TAGS[1:], modality), task)


def _text_classifier(source: ModelSource) -> ModelKind:
    about = f"Classifies a text as one of {len(source.content['classes'])} classes.{source.arrival}"
    use = "from mmcl.batch import Batch\nfrom mmcl.models import from_pretrained\n\n"
    use += f'{source.load}\nlogits = model(Batch(text=["a text"])).logits\nprint(model.names[int(logits.argmax())])'
    tags = ("continual-learning", "class-incremental-learning")
    return ModelKind(about, use, tags, "text-classification")


def _image_classifier(source: ModelSource) -> ModelKind:
    about = f"Classifies an image as one of {len(source.content['classes'])} classes."
    settings = source.content["settings"]
    use = "from pathlib import Path\nfrom mmcl.batch import Batch\nfrom mmcl.data.images.image_file import load_image\n"
    use += f"from mmcl.models import from_pretrained\n\n{source.load}\n"
    use += f'image = load_image(Path("photo.png"), {settings["size"]}, grey={settings["channels"] == 1})\n'
    use += "print(model.names[int(model(Batch(image=image[None])).logits.argmax())])"
    return ModelKind(about, use, ("image-classifier",), "image-classification")


def _seq2seq(source: ModelSource) -> ModelKind:
    about = (
        f"Generates the intent (one of {len(source.content['classes'])}), entities and transcript of a recording of "
        f"speech.{source.arrival}"
    )
    use = f"{_load_and_listen(source)}frame = model(batch).frames[0]\n"
    use += "print(frame.intent, frame.entities, frame.transcript)"
    return ModelKind(about, use, _SLU_TAGS, "automatic-speech-recognition")


def _load_and_listen(source: ModelSource) -> str:
    imports = "from mmcl.batch import collate\nfrom mmcl.data.audio import load_audio\n"
    imports += "from mmcl.models import from_pretrained\n"
    return f'{imports}\n{source.load}\nbatch = collate([{{"audio": load_audio("order.wav")}}])\n'


def _text_to_text(source: ModelSource) -> ModelKind:
    kind = source.content["model_type"]
    data = markdown_text(source.run.config["data"]["name"])
    student_card = getattr(load_task(source.run.task).Config, "student_card", None)
    training, prefix = student_card(source.strategy) if student_card else ("", "")
    about = f"A small {markdown_text(kind)} model that answers the exercises of {data}. {training}".strip()
    about += f" Training method: {markdown_code(source.strategy)}."
    use = "from mmcl.models import from_pretrained\n\n"
    use += f'{source.load}\nprint(model.write(["{prefix}" + question]))'
    return ModelKind(about, use, ("rationale-distillation", kind), library="transformers")


#: How to describe each ``model_type``; all others are text-to-text models in the layout of transformers.
_KINDS: dict[str, Callable[[ModelSource], ModelKind]] = {
    TWO_TOWER: _two_tower,
    CLASSIFIER: _classifier,
    SEQ2SEQ: _seq2seq,
    TEXTS: _text_classifier,
    IMAGES: _image_classifier,
}
