"""The README of a published model: what it is, how it is loaded, what else it needs, and what its run measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmcl.files import plain_yaml
from mmcl.reports.page import NOTE, markdown_table, results_markdown
from mmcl.reports.row_types import checked_rows
from mmcl.runs.run import Run
from mmcl.text.escape import markdown_block, markdown_code, markdown_text, printable

if TYPE_CHECKING:
    from mmcl.publishing.onnx import Graph

_MODALITIES = {"audio": "recordings of speech", "text": "texts", "image": "images", "tabular": "rows of a table"}
_MEANS = {"audio": "a recording means", "image": "an image shows", "tabular": "a row means"}
_WEIGHTS = ("weights", "pretrained", "source")  # options of a library's network that say where its weights are from


class _Kind(NamedTuple):
    """What is said of a kind of model: what it does, Python that uses it, and what the hub calls that."""

    about: str
    use: str
    tags: tuple[str, ...]
    task: str | None = None
    library: str = "mmcl"


def model_card(run: Run, model: str, folder: Path, name: str, license: str, graph: Graph | None = None) -> str:
    """Write the card of a model whose files are in a folder.

    Args:
        run: where it was trained.
        model: its name there, ``<strategy>-seed<seed>``.
        folder: of ``config.json`` and ``model.safetensors``.
        name: of the published folder.
        license: as the hub abbreviates it.
        graph: what was exported beside it.
    """
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    strategy, _, seed = model.rpartition("-seed")
    groups, encoders = _groups(run, model), _encoders(content)
    kind = _kind(run, content, strategy, name, len(groups))
    student = (run.config.get("student") or {}).get("name")
    pretrained = [*([student] if student else []), *(each["name"] for each in encoders if _is_pretrained(each))]
    bases = [each for each in pretrained if _is_on_a_hub(each)]
    head = {
        "library_name": kind.library,
        "license": printable(license),
        **({"pipeline_tag": kind.task} if kind.task else {}),
        **({"base_model": [printable(each) for each in bases]} if bases else {}),
        "tags": list(dict.fromkeys(map(printable, ["mmcl", *kind.tags, run.task.replace("_", "-"), strategy]))),
    }
    task, config = markdown_code(run.task), markdown_code(run.environment.get("config", "config"))
    origin = f"{markdown_code(model)} of a run of mmcl's task {task} that began with its config {config}"
    sections = [
        f"---\n{plain_yaml.dump(head)}---\n\n# {markdown_text(name)}",
        f"{kind.about}\n\nIt is {origin}: {markdown_code(strategy)}, seed {markdown_text(seed)}.",
        f"## Use\n\n{markdown_block(kind.use, 'python')}",
        _made_of(content, encoders, folder),
        _classes(groups) if "classes" in content else "",
        _results(run, strategy, seed),
        _onnx(graph, encoders),
        _data(run.config, license, pretrained),
        _training(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _kind(run: Run, content: Mapping[str, Any], strategy: str, name: str, groups: int) -> _Kind:
    kind = content["model_type"]
    place = json.dumps(f"OWNER/{printable(name)}", ensure_ascii=False)
    load = f"model = from_pretrained({place}, download=True)  # or the path of this folder"
    heard = "from mmcl.batch import collate\nfrom mmcl.data.audio import load_audio\nfrom mmcl.models import "
    heard += f'from_pretrained\n\n{load}\nbatch = collate([{{"audio": load_audio("order.wav")}}])\n'
    if kind == "mmcl_two_tower":
        return _two_towers(content, load)
    arrived = f"The classes arrived in {groups} groups, one after the other." if groups > 1 else ""
    if kind == "mmcl_slu_classifier":
        about = f"Names which of {len(content['classes'])} classes a recording of speech belongs to. {arrived}"
        tags = ("spoken-language-understanding", "continual-learning", "class-incremental-learning")
        use = f"{heard}print(model.classes[int(model(batch).logits.argmax())])"
        return _Kind(about.strip(), use, tags, "audio-classification")
    if kind == "mmcl_slu_seq2seq":
        about = f"Writes what a recording of speech means and says: its intent, one of {len(content['classes'])}, its "
        about += f"entities and its words. {arrived}"
        tags = ("spoken-language-understanding", "continual-learning", "class-incremental-learning")
        use = f"{heard}frame = model(batch).frames[0]\nprint(frame.intent, frame.entities, frame.transcript)"
        return _Kind(about.strip(), use, tags, "automatic-speech-recognition")
    from mmcl.rationales.lessons import PREDICT

    prefix = "" if strategy == "single_task" else PREDICT
    about = f"A small model of the kind {markdown_text(kind)} that answers the exercises of "
    about += markdown_text(run.config["data"]["name"])
    if strategy == "finetune":
        about += "."
    else:
        about += f", and learnt with them what larger models wrote to explain the answers ({markdown_code(strategy)})."
    use = f'from mmcl.models import from_pretrained\n\n{load}\nprint(model.write(["{prefix}" + question]))'
    return _Kind(about, use, ("rationale-distillation", kind), library="transformers")


def _two_towers(content: Mapping[str, Any], load: str) -> _Kind:
    one, other = (content[side]["encoder"]["modality"] for side in ("first", "second"))
    about = f"Embeds {_MODALITIES[one]} and {_MODALITIES[other]} in one space of {content['dim']} dimensions."
    tags, library = ("two-towers", "contrastive-learning", one, other), "from mmcl.models import from_pretrained\n"
    if "text" not in (one, other):
        use = f'{library}\n{load}\nprint(model.tower("{one}"), model.tower("{other}"))'
        return _Kind(f"{about} What belongs together is near.", use, tags, "feature-extraction")
    (named,) = {one, other} - {"text"}
    about += (
        f" What {_MEANS[named]} is found among texts that are given when it is asked for: it is the nearest of them. "
        "None of them need have been trained on."
    )
    file, texts = "order.wav", '{"coffee": ["order a latte"], "lights": ["turn on the lights"]}'
    if named == "image":
        file, texts = "photo.jpg", '{"coffee": ["a cup of coffee"], "lights": ["a lamp"]}'
    use = f'{library}from mmcl.predict import predict\n\n{load}\nprint(predict(model, "{file}", {texts}))'
    return _Kind(about, use, (*tags, f"zero-shot-{named}-classification"), "feature-extraction")


def _encoders(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What ``build_encoder`` was called with, for each encoder of a model, and where in it that encoder is."""
    sides = [("first.", content.get("first")), ("second.", content.get("second")), ("", content)]
    return [{"at": at, **side["encoder"]} for at, side in sides if side and "encoder" in side]


def _is_on_a_hub(name: str) -> bool:
    return name.count("/") == 1 and ":" not in name and not name.startswith((".", "~", "/")) and not Path(name).is_dir()


def _is_pretrained(encoder: Mapping[str, Any]) -> bool:
    name = str(encoder["name"])
    by_itself = name.startswith("torchaudio:") and encoder.get("pretrained", True) is not False
    return by_itself or ("/" in name and ":" not in name) or any(encoder.get(option) for option in _WEIGHTS)


def _made_of(content: Mapping[str, Any], encoders: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """What the model is made of, what is in the folder, and what else is needed."""
    tensors = tensor_sizes(folder)
    rows = []
    for each in encoders:
        trained = sum(size for name, size in tensors.items() if name.startswith(f"{each['at']}encoder."))
        elsewhere = _is_pretrained(each)
        where = "not in this folder" if not trained else "what was trained of them is in this folder, the rest is not"
        known = {"at", "modality", "name", *(key for key, value in each.items() if value in (None, False))}
        options = ", ".join(markdown_text(f"{key} {value}") for key, value in each.items() if key not in known)
        how = markdown_code(each["name"]) + (f" ({options})" if options else "")
        rows.append([f"{each['modality']} encoder", how, where if elsewhere else "in this folder"])
        if each["at"]:
            head = content[each["at"].strip(".")]["head"]
            sized = {"mlp": ("hidden",), "attention": ("hidden", "kernel", "layers", "heads")}.get(head["name"], ())
            how = ", ".join([head["name"], *(f"{option} {head[option]}" for option in sized if head[option])])
            rows.append([f"{each['modality']} head", how, "in this folder" if head["name"] != "none" else "has none"])
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".safetensors")
    megabytes = sum((folder / name).stat().st_size for name in names) / 1e6
    text = (
        f"## What it is made of\n\n{', '.join(f'`{each}`' for each in names)}: {sum(tensors.values()):,} parameters, "
    )
    text += f"{megabytes:.1f} MB."
    if rows:
        text += "\n\n" + markdown_table(["part", "what", "weights"], rows)
    needed = [each for each in encoders if _is_pretrained(each)]
    if hubs := [markdown_code(each["name"]) for each in needed if _is_on_a_hub(each["name"])]:
        text += (
            f"\n\n**What else is needed:** the weights of {' and '.join(hubs)}. `download=True` fetches them from the "
            "hub; without it they are looked for in the folder that `MMCL_WEIGHTS` names and in the hub's cache. They "
            "are checked to be those that the model was trained with."
        )
    for each in needed:
        if not _is_on_a_hub(each["name"]):
            given = next((each[option] for option in _WEIGHTS if isinstance(each.get(option), str)), each["name"])
            text += (
                f"\n\n**What else is needed:** the weights of the {each['modality']} encoder, {markdown_code(given)} "
                f"where it was trained. Put a copy as {markdown_code(Path(given).name)} into the folder that "
                "`MMCL_WEIGHTS` names. They are checked to be the same."
            )
    return text


def tensor_sizes(folder: Path) -> dict[str, int]:
    """Return how many numbers each tensor in the files of a folder has; only the headers are read."""
    from math import prod

    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            sizes |= {name: prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return sizes


def _onnx(graph: Graph | None, encoders: Sequence[Mapping[str, Any]]) -> str:
    if graph is None:
        return ""
    name, seconds = graph.path.name, f"{graph.shortest:.2g} to {graph.longest:.2g} s"
    code = (
        "import numpy, onnxruntime, soundfile\n\n"
        f'session = onnxruntime.InferenceSession("{name}")\n'
        'audio, rate = soundfile.read("order.wav", dtype="float32")  # mono, 16,000 samples a second\n'
        'inputs = {"audio": audio[None], "lengths": numpy.array([len(audio)])}\n'
        "found = session.run(None, inputs)[0]"
    )
    gives = "the probability of each class, in the order of `classes` in `config.json`"
    after = ""
    if graph.output == "speech_embedding":
        gives = "a vector of length 1 for each recording"
        code += '\nprint(found @ numpy.load("texts.npy").T)  # cosines'
        after = (
            '\n\nThe vectors of texts are made once, where mmcl is: `numpy.save("texts.npy", class_vectors(model, '
            '[["order a latte"], ["turn on the lights"]]))`, of `mmcl.models.two_tower`.'
        )
    inside = [markdown_code(each["name"]) for each in encoders if each["modality"] == "audio" and _is_pretrained(each)]
    whole = f" It holds the weights of {inside[0]} as well." if inside else ""
    return (
        f"## ONNX\n\n`{name}` needs neither mmcl nor torch. It takes waveforms `audio`, float32 `(batch, samples)` at "
        f"16 kHz, zero after each of their `lengths`, int64 `(batch,)`, and gives {gives}.{whole}\n\n"
        f"```python\n{code}\n```{after}\n\n"
        f"When it was exported it differed from the model in torch by at most {graph.difference:.1g}, on "
        f"{graph.recordings} recordings of {seconds}, each alone and all in one batch."
    )


def _groups(run: Run, model: str) -> list[list[str]]:
    """Names of the classes in the groups in which they arrived; none where nothing says so."""
    for row in checked_rows(run, "stream"):
        if f"{row.get('strategy')}-seed{row.get('seed')}" == model:
            return [list(names) for names in row["experiences"]]
    return []


def _classes(groups: Sequence[Sequence[str]]) -> str:
    rows = [[str(number), markdown_text(", ".join(names))] for number, names in enumerate(groups, start=1)]
    return f"## Classes\n\n{markdown_table(['group', 'classes'], rows)}"


def _results(run: Run, strategy: str, seed: str) -> str:
    unfinished = (
        ""
        if run.status == "finished"
        else f" The run was not finished when this was written ({markdown_text(run.status)})."
    )
    said = f"As the run measured them: {NOTE}. It has been measured on nothing else.{unfinished}"
    table = results_markdown(run, strategy, seed)
    return f"## Results\n\n{said}\n\n{table}" if table else "## Results\n\nThe run measured nothing."


def _data(config: Mapping[str, Any], license: str, pretrained: Sequence[str]) -> str:
    from mmcl.data.catalog import entries

    known = {entry.name: entry for entry in entries()}
    trained = [section["name"] for section in (config.get("data"), config.get("pairs")) if section]
    measured = [section["name"] for section in config.get("evaluations", ())]
    rows = []
    for name in dict.fromkeys([*trained, *measured]):
        used = " and ".join(word for word, names in (("training", trained), ("measuring", measured)) if name in names)
        entry = known.get(name)
        source = [entry.note, entry.owner, entry.license, entry.url or "made by mmcl"] if entry else ["", "", "", ""]
        rows.append([markdown_code(name), used if measured else "training and measuring", *source])
    others = " and ".join(markdown_code(without_paths(each)) for each in dict.fromkeys(pretrained))
    kept = f"The data and the weights of {others}" if others else "The data"
    return (
        "## Data and licence\n\n"
        + markdown_table(["data set", "for", "what", "of", "licence", "where"], rows)
        + f"\n\nThe licence {markdown_code(license)} is of what was trained here. {kept} have their own."
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


def without_paths(value: Any) -> Any:
    """Return plain data with paths of one machine cut to their last part.

    >>> without_paths({"root": "/data/speech/fsdd", "seeds": [0], "name": "openai/whisper-base"})
    {'root': '.../fsdd', 'seeds': [0], 'name': 'openai/whisper-base'}
    """
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    if isinstance(value, str) and value.startswith(("/", "~")) and len(value) > 1:
        return f".../{Path(value).name}"
    return value
