"""Zero-shot prediction: rank intents for a recording or an image with a two-tower model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmcl.errors import ConfigError
from mmcl.files.plain_json import read_json
from mmcl.text.words import folded, tidy, visible

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from mmcl.models.two_tower import TwoTower

_BAR = 30  # characters


class Prediction(NamedTuple):
    """An intent, the cosine similarity of its texts and the sample, and its softmax probability over all intents."""

    intent: str
    cosine: float
    share: float


def predict(model: TwoTower, file: str | Path, intents: Mapping[str, Sequence[str]]) -> list[Prediction]:
    """Return the intents sorted by similarity to a file, most similar first.

    Args:
        model: model with a text tower and an audio or image tower.
        file: a recording or an image.
        intents: texts of each intent by name; an intent is represented by the mean direction of its texts.

    Raises:
        ConfigError: an intent has no text, or two intents share a text.
        MissingDataError, AudioError, DataError: the file does not exist, cannot be read, or is a silent recording.
    """
    import torch

    from mmcl.batch import collate
    from mmcl.data.audio import load_speech
    from mmcl.data.images.image_file import load_image
    from mmcl.models.two_tower import class_vectors

    check_intents(intents)
    tower = model.beside_text
    if tower.modality == "audio":
        sample = {"audio": load_speech(file)}
    else:
        sample = {"image": load_image(Path(file), 224, grey=getattr(tower.encoder, "channels", 3) == 1)}
    with torch.no_grad():
        vector = tower.eval()(collate([sample]))
    return ranked(vector, class_vectors(model, list(intents.values())), list(intents))


def check_intents(intents: Mapping[str, Sequence[str]]) -> None:
    """Check that there are intents and that their texts differ; raises ConfigError."""
    from mmcl.metrics.zero_shot import check_prompts

    check_prompts(intents)
    if not intents:
        raise ConfigError("there are 0 intents, expected at least one, such as 'turn on the lights'")


def ranked(vector: Tensor, classes: Tensor, intents: Sequence[str]) -> list[Prediction]:
    """Return the intents sorted by similarity to a vector, most similar first.

    Args:
        vector: embedding of one sample, ``(1, dim)``.
        classes: unit vector of each intent, ``(intents, dim)``.
        intents: names of the intents.
    """
    from mmcl.metrics.zero_shot import zero_shot_scores

    cosines = zero_shot_scores(vector, classes)[0]
    shares = (cosines / 0.05).softmax(0)  # a typical temperature, for display only; cosines give the order
    found = [Prediction(*row) for row in zip(intents, cosines.tolist(), shares.tolist(), strict=True)]
    return sorted(found, key=lambda each: -each.cosine)


def written_intents(text: str) -> dict[str, list[str]]:
    """Parse intents from text, one per line: its words, or ``name: words | other words``.

    Raises:
        ConfigError: there are no intents, an intent has no words, or names or words repeat (ignoring case).

    >>> written_intents("turn on the lights\\ncoffee: order a latte | a coffee please")
    {'turn on the lights': ['turn on the lights'], 'coffee': ['order a latte', 'a coffee please']}
    """
    intents: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, colon, said = f"{line.strip()} ".partition(": ")  # the colon in 7:30 has no space after it
        called = [tidy(words) for words in (said if colon else name).split("|")]
        name = tidy(name) if colon else called[0]
        if not name or not all(called):
            raise ConfigError(
                f"'{line.strip()}' has no name or no words: expected 'name: words | other words', or words"
            )
        if (before := names.setdefault(folded(visible(name)), name)) != name or name in intents:
            raise ConfigError(f"intent '{before}' is there twice, expected each once: remove a line")
        for words in called:
            if owners.setdefault(folded(visible(words)), name) != name:
                owner = owners[folded(visible(words))]
                raise ConfigError(f"'{words}' belongs to '{owner}' and to '{name}': expected one intent for each text")
        intents[name] = called
    check_intents(intents)
    return intents


def read_intents(path: str | Path) -> dict[str, list[str]]:
    """Read intents from a JSON file: a list of texts, or an object with a text or a list of texts per name.

    Raises:
        ConfigError: the file does not exist, or has another structure.
    """
    content = read_json(Path(path).expanduser(), object, error=ConfigError)
    if isinstance(content, list) and all(isinstance(text, str) for text in content):
        if repeated := [text for place, text in enumerate(content) if text in content[:place]]:
            raise ConfigError(f"{path} has intent '{repeated[0]}' twice, expected each once: remove one")
        content = {text: text for text in content}
    if isinstance(content, dict):
        listed = {name: [texts] if isinstance(texts, str) else texts for name, texts in content.items()}
        if all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in listed.values()):
            return listed
    example = '["lights on", ...] or {"lights_on": ["turn on the lights", ...], ...}'
    raise ConfigError(f"{path} is not a list of intents: expected {example}")


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """Return a table of predictions with bars, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    from mmcl.text.escape import rich_text

    table = Table("intent", "cosine", "share", "", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, each in enumerate(predictions):
        bar = Text("█" * max(1, round(_BAR * each.share)), "green" if number == 0 else "blue")
        table.add_row(rich_text(each.intent), f"{each.cosine:.3f}", f"{100 * each.share:.0f} %", bar)
    return table
