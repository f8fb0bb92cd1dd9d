"""Checks of data, encoders, streams and objectives. The messages of all tasks are tested in cli/test_validate.py."""

from __future__ import annotations

from types import SimpleNamespace

from mmcl.config.checks import Checks
from mmcl.data.base import Source
from mmcl.sections import checks as of_sections
from mmcl.sections.encoders import AudioSection
from mmcl.sections.slu import DataSection


class Data:
    classes, labels, texts = ("a", "b", "c"), [0, 1, 2], ["a", "b", "c"]

    def __len__(self):
        return 3


def test_generated_data_is_not_generated(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    checks = Checks()
    section = DataSection(options={"intents": 2, "utterances_per_intent": [1, 1, 1]})
    assert of_sections.check_data(checks, section, "audio") is None
    assert checks.faults == [] and list(tmp_path.iterdir()) == []


def test_a_wrong_split_of_generated_data_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    checks = Checks()
    of_sections.check_data(checks, DataSection(test="tset"), "audio")
    assert len(checks.faults) == 1 and "'tset'" in checks.faults[0]


def test_every_wrong_option_is_named():
    checks = Checks()
    section = DataSection(name="table", root="x.csv", options={"sise": 1, "gray": True})
    assert of_sections.check_data(checks, section) is None
    assert [name in fault for name, fault in zip(("'sise'", "'gray'"), checks.faults, strict=True)] == [True, True]


def test_an_encoder_is_checked_with_options_from_data():
    checks = Checks()
    of_sections.check_encoder(checks, "encoder", AudioSection(options={"dim": 8}), "audio", dim="wide")
    assert checks.faults == []
    of_sections.check_encoder(checks, "encoder", AudioSection(frozen=True, tune_from=1), "audio")
    assert len(checks.faults) == 1 and "tune_from=1" in checks.faults[0]


def test_a_stream_is_checked_for_every_seed():
    checks = Checks()
    of_sections.check_stream(checks, (Data(), Data()), [0, 1], 3)
    assert checks.faults == []
    of_sections.check_stream(checks, (Data(), Data()), [0, 1], 4)
    assert len(checks.faults) == 1 and "experiences is 4" in checks.faults[0]


def test_objectives_need_labels():
    checks, unlabelled = Checks(), Data()
    unlabelled.classes = ("unlabelled",)
    of_sections.check_objectives(checks, "objective", ["clip", "sup_con"], Data())
    assert checks.faults == []
    of_sections.check_objectives(checks, "objective", ["clip", "sup_con"], unlabelled)
    assert len(checks.faults) == 1 and "sup_con" in checks.faults[0]


def test_objectives_need_episodes_or_a_momentum_encoder():
    checks = Checks()
    of_sections.check_objectives(checks, "objective", ["susana", "beclr"], Data(), episodes=True, momentum=0.9)
    assert checks.faults == []
    of_sections.check_objectives(checks, "objective", ["susana", "beclr"], Data())
    assert len(checks.faults) == 2 and "data.episodes" in checks.faults[0] and "momentum=0.99" in checks.faults[1]


def test_what_a_generator_needs_is_reported(monkeypatch):
    """The sentences of sentences_tts come from MMCL_DATA."""
    monkeypatch.delenv("MMCL_DATA", raising=False)
    monkeypatch.setenv("MMCL_CACHE", "/nowhere")
    checks = Checks()
    assert of_sections.open_split(checks, "pairs", "sentences_tts", "train", None, {"texts": ["vocabulary"]}) is None
    assert len(checks.faults) == 1 and "MMCL_DATA" in checks.faults[0]
    assert isinstance(Source.offer, object)


def test_the_state_of_objectives_has_room_for_batches_samples_and_classes():
    settings = SimpleNamespace(
        mochi=SimpleNamespace(queue=2),
        cacr=SimpleNamespace(queue=0),
        isogclr=SimpleNamespace(samples=2),
        simlap=SimpleNamespace(classes=1),
    )

    def faults(*names, batch_size):
        checks, config = Checks(), SimpleNamespace(objective=names, objectives=settings, batch_size=batch_size)
        of_sections.check_sizes(checks, config, Data())
        return [fault.split(":")[0].removeprefix("objectives.") for fault in checks.faults]

    every = ("mochi@0.1", "cacr", "isogclr+simlap")
    assert faults(*every, batch_size=3) == ["mochi.queue", "isogclr.samples", "simlap.classes"]
    assert faults("mochi", "cacr", batch_size=2) == faults("nt_xent", batch_size=9) == []
