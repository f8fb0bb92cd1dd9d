"""The model card (README.md) of an exported model: usage, components, results, data and training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mmcl.files import plain_yaml
from mmcl.metrics.calibration import Calibration
from mmcl.models.saved_calibration import read_calibration
from mmcl.publishing.kinds import ModelKind, ModelSource, describe_kind
from mmcl.reports.row_types import StreamRow, read_metrics, rows_of_type
from mmcl.reports.tables import NOTE, markdown_table, results_markdown
from mmcl.runs.run import Run
from mmcl.text.escape import markdown_block, markdown_code, markdown_text, printable

if TYPE_CHECKING:
    from mmcl.publishing.onnx import Graph

_WEIGHT_OPTIONS = ("weights", "pretrained", "source")  # options that say where a network's weights come from


class _Encoder(NamedTuple):
    """An encoder of the model: the prefix of its tensors, the arguments of ``build_encoder``, and its tower's head."""

    prefix: str
    modality: str
    name: str
    options: Mapping[str, Any]
    head: Mapping[str, Any] | None = None

    @property
    def is_pretrained(self) -> bool:
        always = self.name.startswith("torchaudio:") and self.options.get("pretrained", True) is not False
        return always or ("/" in self.name and ":" not in self.name) or any(map(self.options.get, _WEIGHT_OPTIONS))


def model_card(run: Run, model: str, folder: Path, name: str, license: str, graph: Graph | None = None) -> str:
    """Write the card of an exported model.

    Args:
        run: The run that trained the model.
        model: Name of the model in the run, ``<strategy>-seed<seed>``.
        folder: Folder of ``config.json`` and ``model.safetensors``.
        name: Name of the published model.
        license: License of the weights as the hub abbreviates it.
        graph: The ONNX graph in the folder, if any.
    """
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    strategy, _, seed = model.rpartition("-seed")
    groups, encoders = _class_groups(run, model), _encoders(content)
    kind = describe_kind(ModelSource(run, content, strategy, name, len(groups)))
    student = (run.config.get("student") or {}).get("name")
    pretrained = [*([student] if student else []), *(each.name for each in encoders if each.is_pretrained)]
    task, config = markdown_code(run.task), markdown_code(run.environment.get("config", "config"))
    origin = f"Model {markdown_code(model)} of a run of the mmcl task {task} with the config {config}"
    sections = [
        f"---\n{plain_yaml.dump(_metadata(kind, run, strategy, license, pretrained))}---\n\n# {markdown_text(name)}",
        f"{kind.about}\n\n{origin}: strategy {markdown_code(strategy)}, seed {markdown_text(seed)}.",
        f"## Use\n\n{markdown_block(kind.use, 'python')}",
        _components(content, encoders, folder),
        _classes(groups) if "classes" in content else "",
        _results(run, strategy, seed),
        _confidence(folder),
        _onnx(graph, encoders),
        _data(run.config, license, pretrained),
        _training(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _confidence(folder: Path) -> str:
    """Describe the calibration of the model, if it has one."""
    found = read_calibration(folder)
    if not isinstance(found, Calibration):
        return ""
    error = f"{100 * found.error_before:.1f} % before and {100 * found.error_after:.1f} % after calibration"
    text = (
        f"Calibrated on {found.samples} validation samples: expected calibration error {error}. "
        f"`calibration.json` holds the parameters, which `mmcl predict` and `mmcl.predict.open_recognizer` apply."
    )
    if found.threshold is not None and found.accepted is not None and found.accepted_accuracy is not None:
        text += (
            f" Answers below a confidence of {100 * found.threshold:.1f} % are rejected. "
            f"{100 * found.accepted:.1f} % of the validation samples are accepted, with an accuracy of "
            f"{100 * found.accepted_accuracy:.1f} %."
        )
    return f"## Confidence\n\n{text}"


def _metadata(kind: ModelKind, run: Run, strategy: str, license: str, pretrained: Sequence[str]) -> dict[str, object]:
    """Return the front matter that the hub reads."""
    bases = [printable(each) for each in pretrained if _is_on_a_hub(each)]
    return {
        "library_name": kind.library,
        "license": printable(license),
        **({"pipeline_tag": kind.task} if kind.task else {}),
        **({"base_model": bases} if bases else {}),
        "tags": list(dict.fromkeys(map(printable, ["mmcl", *kind.tags, run.task.replace("_", "-"), strategy]))),
    }


def _encoders(content: Mapping[str, Any]) -> list[_Encoder]:
    sides = [(f"{name}.encoder.", content.get(name)) for name in ("first", "second")] + [("encoder.", content)]
    sides += [(f"encoder.encoders.{view}.", each) for view, each in (content.get("views") or {}).items()]
    described = [
        (prefix, dict(side["encoder"]), side.get("head")) for prefix, side in sides if side and "encoder" in side
    ]
    return [
        _Encoder(prefix, spec.pop("modality"), str(spec.pop("name")), spec, head) for prefix, spec, head in described
    ]


def _is_on_a_hub(name: str) -> bool:
    return name.count("/") == 1 and ":" not in name and not name.startswith((".", "~", "/")) and not Path(name).is_dir()


def _components(content: Mapping[str, Any], encoders: Sequence[_Encoder], folder: Path) -> str:
    """Describe the parts of the model, the files in the folder, and weights that are needed in addition."""
    tensors = tensor_sizes(folder)
    rows = []
    for each in encoders:
        trained = any(size for name, size in tensors.items() if name.startswith(each.prefix))
        where = "not in this folder" if not trained else "trained weights in this folder, the others not"
        options = ", ".join(
            markdown_text(f"{key} {value}") for key, value in each.options.items() if value not in (None, False)
        )
        what = markdown_code(each.name) + (f" ({options})" if options else "")
        rows.append([f"{each.modality} encoder", what, where if each.is_pretrained else "in this folder"])
        if each.head is not None:
            rows.append(_head(each.modality, each.head))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))
    megabytes = sum((folder / name).stat().st_size for name in names) / 1e6
    files = ", ".join(f"`{each}`" for each in names)
    text = f"## Components\n\n{files}: {sum(tensors.values()):,} parameters, {megabytes:.1f} MB."
    if rows:
        text += "\n\n" + markdown_table(["part", "what", "weights"], rows)
    return text + _required_weights([each for each in encoders if each.is_pretrained])


def _head(modality: str, head: Mapping[str, Any]) -> list[str]:
    sized = {"mlp": ("hidden",), "attention": ("hidden", "kernel", "layers", "heads")}.get(head["name"], ())
    what = ", ".join([head["name"], *(f"{option} {head[option]}" for option in sized if head[option])])
    return [f"{modality} head", what, "in this folder" if head["name"] != "none" else "has none"]


def _required_weights(encoders: Sequence[_Encoder]) -> str:
    """Say which pretrained weights are needed to load the model, and where to put them."""
    text = ""
    if hubs := [markdown_code(each.name) for each in encoders if _is_on_a_hub(each.name)]:
        text += (
            f"\n\n**Required weights:** {' and '.join(hubs)}. `download=True` downloads them from the hub. Otherwise "
            "they are searched in the folder of `MMCL_WEIGHTS` and in the cache of the hub. They must be the weights "
            "that the model was trained with; this is checked."
        )
    for each in encoders:
        if not _is_on_a_hub(each.name):
            given = next(
                (each.options[name] for name in _WEIGHT_OPTIONS if isinstance(each.options.get(name), str)), each.name
            )
            text += (
                f"\n\n**Required weights:** those of the {each.modality} encoder, {markdown_code(given)} in training. "
                f"Put a copy named {markdown_code(Path(given).name)} into the folder of `MMCL_WEIGHTS`. It "
                "must have the same weights; this is checked."
            )
    return text


def tensor_sizes(folder: Path) -> dict[str, int]:
    """Return the number of elements of each tensor in a folder, reading only the file headers."""
    from math import prod

    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            sizes |= {name: prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return sizes


def _onnx(graph: Graph | None, encoders: Sequence[_Encoder]) -> str:
    if graph is None:
        return ""
    name, seconds = graph.path.name, f"{graph.shortest:.2g} to {graph.longest:.2g} s"
    code = (
        "import numpy, onnxruntime, soundfile\n\n"
        f'session = onnxruntime.InferenceSession("{name}")\n'
        'audio, rate = soundfile.read("order.wav", dtype="float32")  # mono, 16 kHz\n'
        'inputs = {"audio": audio[None], "lengths": numpy.array([len(audio)])}\n'
        "output = session.run(None, inputs)[0]"
    )
    output = "class probabilities, in the order of `classes` in `config.json`"
    after = ""
    if graph.output == "speech_embedding":
        output = "a unit vector per recording"
        code += '\nprint(output @ numpy.load("texts.npy").T)  # cosines'
        after = (
            '\n\nCompute the text vectors once with mmcl: `numpy.save("texts.npy", class_vectors(model, '
            '[["order a latte"], ["turn on the lights"]]))`, from `mmcl.models.two_tower`.'
        )
    inside = [markdown_code(each.name) for each in encoders if each.modality == "audio" and each.is_pretrained]
    weights = f" It includes the weights of {inside[0]}." if inside else ""
    return (
        f"## ONNX\n\n`{name}` needs neither mmcl nor torch. Inputs are `audio`, float32 `(batch, samples)` at "
        "16 kHz, padded with zeros, and their `lengths`, int64 `(batch,)`, in samples. The output is "
        f"{output}.{weights}\n\n```python\n{code}\n```{after}\n\n"
        f"When exported, it differed from the torch model by at most {graph.difference:.1g}, on "
        f"{graph.recordings} recordings of {seconds}, one by one and in one batch."
    )


def _class_groups(run: Run, model: str) -> list[list[str]]:
    """Return the class names of each experience, or [] if the run did not log a stream."""
    for row in rows_of_type(read_metrics(run), StreamRow):
        if row.unit == model:
            return row.experiences
    return []


def _classes(groups: Sequence[Sequence[str]]) -> str:
    rows = [[str(index), markdown_text(", ".join(names))] for index, names in enumerate(groups, start=1)]
    return f"## Classes\n\n{markdown_table(['group', 'classes'], rows)}"


def _results(run: Run, strategy: str, seed: str) -> str:
    unfinished = (
        ""
        if run.status == "finished"
        else f" The run was not finished when this card was written ({markdown_text(run.status)})."
    )
    note = f"Measured by the run: {NOTE}. The model was not evaluated on other data.{unfinished}"
    table = results_markdown(run, strategy, seed)
    return f"## Results\n\n{note}\n\n{table}" if table else "## Results\n\nThe run has no results."


def _data(config: Mapping[str, Any], license: str, pretrained: Sequence[str]) -> str:
    from mmcl.data.catalog import entries

    known = {entry.name: entry for entry in entries()}
    trained = [section["name"] for section in (config.get("data"), config.get("pairs")) if section]
    evaluated = [section["name"] for section in config.get("evaluations", ())]
    rows = []
    for name in dict.fromkeys([*trained, *evaluated]):
        used = " and ".join(word for word, names in (("training", trained), ("evaluation", evaluated)) if name in names)
        entry = known.get(name)
        source = [entry.note, entry.owner, entry.license, entry.url or "made by mmcl"] if entry else ["", "", "", ""]
        rows.append([markdown_code(name), used if evaluated else "training and evaluation", *source])
    others = " and ".join(markdown_code(without_paths(each)) for each in dict.fromkeys(pretrained))
    excluded = f"The data and the weights of {others}" if others else "The data"
    return (
        "## Data and licence\n\n"
        + markdown_table(["data set", "used for", "description", "owner", "licence", "source"], rows)
        + f"\n\nThe licence {markdown_code(license)} covers the trained weights. {excluded} have their own licences."
    )


def _training(run: Run) -> str:
    found = run.environment.get("versions")
    versions = found if isinstance(found, dict) else {}
    used = ", ".join(f"{name} {versions[name]}" for name in ("mmcl", "torch", "transformers") if versions.get(name))
    config = plain_yaml.dump(without_paths(run.config))
    python = markdown_text(run.environment.get("python"))
    return (
        f"## Training\n\n{markdown_text(used)}, Python {python}.\n\n<details>\n<summary>The config of the run"
        f"</summary>\n\n{markdown_block(config, 'yaml')}\n\n</details>"
    )


PlainT = TypeVar("PlainT")


def without_paths(value: PlainT) -> PlainT:
    """Shorten absolute paths in nested data to their last part.

    >>> without_paths({"root": "/data/speech/fsdd", "seeds": [0], "name": "openai/whisper-base"})
    {'root': '.../fsdd', 'seeds': [0], 'name': 'openai/whisper-base'}
    """
    shortened: Any = value
    if isinstance(value, dict):
        shortened = {key: without_paths(each) for key, each in value.items()}
    elif isinstance(value, list):
        shortened = [without_paths(each) for each in value]
    elif isinstance(value, str) and value.startswith(("/", "~")) and len(value) > 1:
        shortened = f".../{Path(value).name}"
    return shortened
