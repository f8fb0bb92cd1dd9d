"""Loading of configs, the source of each fault, and round trips. Messages of faults are tested in test_faults.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from mmcl.config.model import OneOrMore, StrictModel, dump_config, load_config
from mmcl.errors import ConfigError


class Cnn(StrictModel):
    name: Literal["cnn"] = "cnn"
    channels: int = Field(64, gt=0, description="channels of the first layer")


class Pretrained(StrictModel):
    name: Literal["pretrained"] = "pretrained"
    folder: Path = Path("weights")
    tuned_from: int | None = None


class Optimizer(StrictModel):
    name: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, description="step size")


class Config(StrictModel):
    encoder: Annotated[Cnn | Pretrained, Field(discriminator="name")] = Cnn()
    optimizer: Optimizer = Optimizer()
    strategy: OneOrMore[Literal["naive", "replay", "coconut"]] = ("naive",)
    seeds: OneOrMore[int] = (0,)
    epochs: int = Field(3, ge=1, description="passes over each experience")
    share: float = 0.5
    class_order: tuple[str, ...] | None = None
    dropout: bool = False

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.share > 1:
            raise ValueError(f"share {self.share} is above 1: it is a fraction of the samples")
        return self


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text("epochs: 5\n")
    return path


def faults(path: Path, text: str, *overrides: str) -> list[str]:
    """Lines of the error, with the file's name instead of its path."""
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(Config, path, list(overrides))
    return [line.replace(f"{path.parent}/", "") for line in str(error.value).split("\n")]


def test_overrides_are_yaml_and_reach_into_sections(file: Path) -> None:
    overrides = [
        "optimizer.learning_rate=1e-5",
        "strategy=[naive,replay]",
        "seeds=3",
        "class_order=[yes, 'no', '1']",
        "encoder={name: pretrained, folder: a=b}",
        "dropout=true",
    ]
    config = load_config(Config, file, overrides)
    assert config.optimizer.learning_rate == 1e-5
    assert config.strategy == ("naive", "replay")
    assert config.seeds == (3,)
    assert config.class_order == ("yes", "no", "1")
    assert config.encoder == Pretrained(folder=Path("a=b"))
    assert config.dropout is True
    assert config.epochs == 5  # from the file
    assert load_config(Config, file, ["epochs=1", "epochs=2"]).epochs == 2  # the last override applies


def test_a_config_round_trips(file: Path) -> None:
    config = load_config(Config, file, ["encoder={name: pretrained}", "share=0.1", "class_order=[on, 'null', 1e-3x]"])
    file.write_text(dump_config(config))
    assert load_config(Config, file) == config


def test_a_config_cannot_be_changed(file: Path) -> None:
    config = load_config(Config, file)
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 7  # type: ignore[misc]


def test_a_default_is_validated() -> None:
    class Wrong(StrictModel):
        epochs: int = Field(0, ge=1)

    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Wrong()


def test_all_faults_are_reported_at_once_with_their_source(file: Path) -> None:
    text = "encoder: {nmae: cnn, channels: 0}\nepochs: many\nepochs: 2\nsedes: [1]\nstrategy: [naive, coconutt]"
    reported = faults(file, text, "optimizer.learnign_rate=1", "share=x", "seeds", "_target_=os.system")
    assert reported == [
        "demo.yaml: epochs: given twice, remove one of them (line 3)",
        "command line: 'seeds' is not a setting, expected key=value such as learning_rate=0.001",
        "command line: _target_: not allowed: configs are data and cannot name code, remove it",
        "demo.yaml: encoder.name: missing, expected a value",
        "command line: optimizer.learnign_rate: unknown key, did you mean 'learning_rate'?",
        "demo.yaml: strategy[1]: 'coconutt' is not one of naive, replay, coconut; did you mean 'coconut'?",
        "command line: share: 'x' should be a valid number",
        "demo.yaml: sedes: unknown key, did you mean 'seeds'?",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("=3", "'=3' is not a setting, expected key=value such as learning_rate=0.001"),
        ("encoder.=3", "'encoder.=3' is not a setting, expected key=value such as learning_rate=0.001"),
        ("seeds=[1", "seeds: '[1' is not a YAML value (line 1, column 3: "),
        ("epochs.x=1", "epochs.x: 'epochs' is 5, expected a section"),
        ("a.b=1", "a: unknown key, expected one of encoder, optimizer, "),
        ("seeds=!!python/name:os.system", "seeds: tag '!!python/name:os.system' is not allowed: configs are data"),
        ("encoder={_target_: x}", "encoder._target_: not allowed: configs are data and cannot name code, remove it"),
        ("epochs=", "epochs: None should be a valid integer"),
        ("epochs=true", "epochs: 'true' should be a valid integer"),
        ("share=false", "share: 'false' should be a valid number"),
    ],
)
def test_a_faulty_override_gives_one_message(file: Path, override: str, message: str) -> None:
    reported = faults(file, "epochs: 5", override)
    assert reported[0].startswith(f"command line: {message}")
    assert all(line.startswith("command line: ") for line in reported)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "demo.yaml: empty"),
        ("# nothing\n", "demo.yaml: empty"),
        ("- epochs", "demo.yaml: its top level is a list"),
        ("epochs", "demo.yaml: its top level is a str"),
        ("epochs: [1", "demo.yaml: not valid YAML: line 1, column 11: "),
        ("seeds: !!python/tuple [1, 2]", "demo.yaml: seeds: tag '!!python/tuple' is not allowed: configs are data "),
        ("!!python/object:os.x {}", "demo.yaml: tag '!!python/object:os.x' is not allowed: configs are data "),
        ("share: 2", "demo.yaml: share 2.0 is above 1: it is a fraction of the samples"),
    ],
)
def test_a_faulty_file_gives_one_message(file: Path, text: str, message: str) -> None:
    reported = faults(file, text)
    assert len(reported) == 1
    assert reported[0].startswith(message)


def test_a_missing_file_names_the_nearest_one(file: Path) -> None:
    with pytest.raises(ConfigError, match="dmeo.yaml.*'demo.yaml'"):
        load_config(Config, file.with_name("dmeo.yaml"))
    with pytest.raises(ConfigError, match="best_run_ever.yml.*demo.yaml"):
        load_config(Config, file.with_name("best_run_ever.yml"))
    with pytest.raises(ConfigError, match="x.yaml"):
        load_config(Config, file.parent / "elsewhere" / "x.yaml")


def test_a_file_that_is_not_text_raises(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="demo.yaml.*UTF-8"):
        load_config(Config, file)
    with pytest.raises(ConfigError, match=f"{file.parent.name}.*Is a directory"):
        load_config(Config, file.parent)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("encoder: {options: {download: true}}", "encoder.options.download"),
        ("download: true", "download"),
        ("towers: [{name: a}, {options: {download: true}}]", "towers[1].options.download"),
    ],
)
def test_a_file_cannot_allow_downloads(written, key, tmp_path, caplog):
    class Anything(StrictModel):
        encoder: dict[str, Any] = {}
        towers: list[dict[str, Any]] = []
        download: bool = False

    (tmp_path / "their.yaml").write_text(written)
    config = load_config(Anything, tmp_path / "their.yaml")
    assert "True" not in str(config) and "False" in str(config)
    assert "their.yaml" in caplog.text and f"{key}=true" in caplog.text
    allowed = load_config(Anything, tmp_path / "their.yaml", ["encoder.options={download: true}"])
    assert allowed.encoder == {"options": {"download": True}}


class Part(StrictModel):
    name: str = "one"
    size: int = 1


class Whole(StrictModel):
    part: Part = Part(name="two")


class Outer(StrictModel):
    whole: Whole = Whole(part=Part(name="three"))


def test_a_section_within_a_section_keeps_the_defaults_of_the_config() -> None:
    assert Outer(whole={"part": {"size": 5}}).whole.part == Part(name="three", size=5)
    assert Outer(whole={}).whole.part == Part(name="three")


def test_a_partial_section_keeps_the_defaults_of_the_config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("part: {size: 5}")
    assert load_config(Whole, path).part == Part(name="two", size=5)
    assert Whole(part={"size": 5}).part == Part(name="two", size=5)
    assert Whole(part=Part(size=5)).part == Part(size=5)


class Named(StrictModel):
    options_of_name = ("options",)

    name: str = "digits"
    options: dict[str, int] = {}


class Holder(StrictModel):
    data: Named = Named()
    encoder: Part = Part()


@pytest.mark.parametrize(
    ("overrides", "options", "warned"),
    [
        (["data.name=table"], {}, True),
        (["data.name=table", "data.options={b: 2}"], {"b": 2}, True),
        (["data.options.b=2", "data.name=table"], {"b": 2}, True),
        (["data.name=digits"], {"a": 1}, False),
        (["data.options.b=2"], {"a": 1, "b": 2}, False),
    ],
)
def test_options_of_a_replaced_data_set_are_dropped(tmp_path, caplog, overrides, options, warned):
    path = tmp_path / "demo.yaml"
    path.write_text("data: {name: digits, options: {a: 1}}\nencoder: {name: two}\n")
    assert load_config(Holder, path, [*overrides, "encoder.name=one"]).data.options == options
    assert [record.getMessage() for record in caplog.records if "digits" in record.getMessage()] == (
        ["data.name=table: dropped data.options, which digits of the config file has: a"] if warned else []
    )


def test_a_number_is_one_of_the_names_that_look_like_it():
    class Config(StrictModel):
        precision: Literal["32", "bf16-mixed"] = "bf16-mixed"
        level: Literal[1, "2"] = 1

    assert (Config(precision=32).precision, Config(level=2).level, Config(level=1).level) == ("32", "2", 1)
    with pytest.raises(ValidationError):
        Config(precision=16)
