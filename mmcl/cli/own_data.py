"""Terminal output of `mmcl data check FILE` and `mmcl data describe FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.cli.terminal import console, say
from mmcl.errors import ConfigError
from mmcl.text.escape import encodable, rich_text

if TYPE_CHECKING:
    from mmcl.data.file_faults import FileFault
    from mmcl.data.own import OwnSummary

_LONGEST = 40  # classes in the table of counts

# Command that trains on user data, by what each row has.
_COMMANDS = {
    "audio": "slu_incremental data.name=table data.root={root} experiences={experiences}",
    "image": "unlearning data.name=table data.root={root} data.train=[train] removal={{kind: data}}",
    "text": "text_incremental data={{name: table, root: {root}}} rationales=none by_superclass=false "
    "experiences={experiences}",
    "numbers": "multimodal_classification data={{name: table, root: {root}}} method=single "
    "views={{numbers: {{modality: tabular, name: mlp}}}}",
    "pairs": "contrastive_pretraining pairs.name=table pairs.root={root}",
}
_REGRESSION = "representation_learning data.name=table data.root={root} objective=[l1,supremix] "
_ENCODERS = {
    "audio": "encoder.modality=audio encoder.name=cnn",
    "image": "encoder.modality=image encoder.name=cnn",
    "text": "encoder.modality=text encoder.name=words",
    "numbers": "encoder.modality=tabular encoder.name=mlp",
}
_CLASS_BY_CLASS = "class_incremental data.name=table data.root={root} experiences={experiences}"
# Options of images for the small networks of these tasks.
_OF_IMAGES = {
    "unlearning": ("size=28", "grey=true"),
    "class_incremental": ("size=32",),
    "representation_learning": ("size=32",),
}


def looks_like_path(name: str) -> bool:
    """Return whether the argument of a command is a file or folder rather than the name of a data set."""
    from mmcl.data.catalog import entries
    from mmcl.files.records import TABLE_SUFFIXES

    path = Path(name).expanduser()
    if name in {entry.name for entry in entries()} | {"table", "captions"}:
        return False
    return path.exists() or path.suffix.lower() in TABLE_SUFFIXES or len(path.parts) > 1


def options_of(settings: Sequence[str], name: str = "table") -> dict[str, Any]:
    """Return options of a data set from words such as ``split_seed=1``.

    Raises:
        ConfigError: a word is not ``KEY=VALUE``, or there is no such option.
    """
    from mmcl.data.catalog import check_dataset_options
    from mmcl.files import plain_yaml

    options: dict[str, Any] = {}
    for word in settings:
        key, equals, value = word.partition("=")
        try:
            options[key], wrong = plain_yaml.parse_yaml(value)
        except plain_yaml.NotPlainYAML as error:
            raise ConfigError(f"'{value}' is not a YAML value ({error}): put it in quotes") from None
        if not equals or wrong:
            raise ConfigError(f"'{word}' is not an option, expected KEY=VALUE such as split_seed=1")
    check_dataset_options(name, options)
    return options


def show_summary(found: OwnSummary) -> None:
    """Print rows, columns, splits, durations, and the range of targets or the number of rows of each class."""
    if found.own is None:
        return
    rows = [row for each in found.splits.values() for row in each]
    speakers = {row.speaker for row in rows if row.speaker}
    targets = found.targets
    told = f"targets from {min(targets):g} to {max(targets):g}" if targets else f"{_classes(found)} classes"
    facts = [f"{len(rows)} rows", " and ".join(found.kinds), told]
    facts += [f"{len(speakers)} speakers"] if speakers else []
    say(f"{found.root.name}: {', '.join(facts)}")
    say(f"columns: {', '.join(found.own.columns)}")
    sizes = ", ".join(f"{split} {len(each)}" for split, each in found.splits.items())
    said_in = [{row.speaker for row in each if row.speaker} for each in found.splits.values()]
    apart = ", no speaker in two" if speakers and sum(map(len, said_in)) == len(speakers) else ""
    say(f"splits: {sizes}" + (f" ({' and '.join(found.made)} made by split_seed{apart})" if found.made else ""))
    if found.seconds:
        lengths = found.seconds
        say(
            f"seconds: {lengths[0]:.2f} to {lengths[-1]:.2f}, median {lengths[len(lengths) // 2]:.2f}, "
            f"total {sum(lengths):.1f}"
        )
    if not targets:
        _show_counts(found)


def _show_counts(found: OwnSummary) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("class", overflow="fold")
    for split in found.splits:
        table.add_column(rich_text(split), justify="right", no_wrap=True)
    counts = found.counts
    classes = sorted({label for each in counts.values() for label in each})
    for label in classes[:_LONGEST]:
        cells = (str(counts[split][label]) for split in found.splits)
        table.add_row(rich_text(label or "(no label)", longest=40), *cells)
    console().print(table)
    if len(classes) > _LONGEST:
        say(f"and {len(classes) - _LONGEST} more classes")


def show_command(found: OwnSummary, settings: Sequence[str]) -> None:
    """Print the commands of tasks that train on the data with options such as ``split_seed=1``."""
    if found.own is None or not found.kinds:
        return
    labelled = "label" in found.own.columns
    command = _COMMANDS[found.kinds[0] if labelled else "pairs"]
    if found.targets:
        command = _REGRESSION + _ENCODERS[found.kinds[0]]
    say(f"train on it:\n  mmcl run {_filled(command, found, settings)}", lines=True)
    # Recordings alone have `slu_incremental`; their transcripts are no further view.
    further = {*found.kinds} != {"audio"} and {*found.kinds} != {"audio", "text"}
    if labelled and further and _classes(found) > 1:
        command = _filled(_CLASS_BY_CLASS, found, settings)
        say(f"train on its classes one after the other:\n  mmcl run {command}", lines=True)


def _filled(command: str, found: OwnSummary, settings: Sequence[str]) -> str:
    """Return a command with the place of the data, its options and a number of experiences, quoted for a shell."""
    filled = command.format(root=found.root, experiences=max(1, min(5, _classes(found))))
    task = command.partition(" ")[0]
    of_images = _OF_IMAGES.get(task, ()) if "image" in found.kinds else ()
    options = [word.replace("=", ": ", 1) for word in (*of_images, *settings)]
    if options:
        section = "pairs" if task == "contrastive_pretraining" else "data"
        filled += f" {section}.options={{{', '.join(options)}}}"
    return " ".join(_words(filled))


def _classes(found: OwnSummary) -> int:
    return len({row.label for each in found.splits.values() for row in each})


def _words(settings: str) -> list[str]:
    """Split settings at spaces outside braces, and quote those that a shell would change."""
    from shlex import quote

    words: list[str] = []
    for part in settings.split(" "):
        if words and words[-1].count("{") > words[-1].count("}"):
            words[-1] += f" {part}"
        else:
            words.append(part)
    return [quote(word) if set(word) & set(" {}[]'\"*$") else word for word in words]


def show_faults(name: str, faults: Sequence[FileFault]) -> int:
    """Print each fault, and their number; return the number of errors."""
    for fault in faults:
        kind, colour = ("warning", "yellow") if fault.warning else ("error", "red")
        where = "" if fault.reason.startswith(encodable(str(fault.path))) else f"{fault.path}: "
        say(f"{kind}: {where}{fault.reason}", colour=colour)
    errors = sum(not fault.warning for fault in faults)
    say(f"{name}: {errors} errors, {len(faults) - errors} warnings")
    return errors
