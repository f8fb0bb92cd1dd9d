import importlib.util
import platform
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from mmcl.data.synthesis import synthetic_commands
from mmcl.data.synthesis.command_grammar import grammar
from mmcl.data.synthesis.command_plan import CommandParameters, plan_commands, record, voices

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)


@pytest.fixture(scope="module")
def default_plan():
    return plan_commands(CommandParameters())


def test_default_plan_covers_voices_and_wordings(default_plan):
    for said, size in zip(default_plan.values(), (72, 12, 14), strict=True):
        assert set(Counter(command.intent for command in said).values()) == {size}
    assert {len({command.intent for command in said}) for said in default_plan.values()} == {31}
    assert len({command.speaker for said in default_plan.values() for command in said}) >= 40
    assert 2_500 <= sum(map(len, default_plan.values())) <= 3_500


def test_splits_have_disjoint_voices(default_plan):
    timbres = {split: {command.voice.variant for command in said} for split, said in default_plan.items()}
    assert not timbres["train"] & timbres["valid"]
    assert not timbres["train"] & timbres["test"]
    assert not timbres["valid"] & timbres["test"]
    for split, said in default_plan.items():
        assert {command.speaker for command in said} == {f"{v.accent}-{v.variant}" for v in voices()[split]}
        shares = Counter((command.intent, command.speaker) for command in said)
        assert max(shares.values()) == min(shares.values()), "each voice says each intent equally often"


def test_half_of_test_has_unseen_wordings(default_plan):
    texts = {split: [command.text for command in said] for split, said in default_plan.items()}
    trained, words = set(texts["train"]), set(" ".join(texts["train"]).split())
    assert sum(text not in trained for text in texts["test"]) == len(texts["test"]) / 2
    assert set(texts["valid"]) <= trained, "settings are not chosen on the wordings of the test"
    assert set(" ".join(texts["test"]).split()) <= words, "new sentences of known words"
    for command in default_plan["test"]:
        assert command.text in grammar()[command.intent]


def test_a_voice_varies(default_plan):
    (speaker, _), *_ = Counter(command.speaker for command in default_plan["train"]).most_common(1)
    said = [command for command in default_plan["train"] if command.speaker == speaker]
    for name in ("rate", "pitch"):
        values = [getattr(command.voice, name) for command in said]
        assert 5 < max(values) - min(values) <= 16
    for name in ("before", "after", "noise"):
        assert len({getattr(command, name) for command in said}) > 10


def test_seeds_differ_in_voices_and_wordings():
    assert voices(0) == voices(0) != voices(1)
    small = [plan_commands(CommandParameters((4, 2, 2), 4, seed)) for seed in (0, 0, 1)]
    assert small[0] == small[1]
    assert [command.text for command in small[0]["train"]] != [command.text for command in small[2]["train"]]


def test_the_plan_is_the_same_on_every_machine(default_plan):
    """Intended changes must increment _FORMAT (unless grammar or voices change) and update this digest."""
    assert sha256(repr(default_plan).encode()).hexdigest()[:16] == "2885d6e1133a845f"


@needs_espeak
@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="espeak-ng of other machines rounds its own way",
)
def test_the_recordings_are_the_same_on_every_machine(default_plan):
    if synthetic_commands.espeak_version() != "1.52.0":
        pytest.skip("the number is that of espeak-ng 1.52.0")
    recorded = b"".join(record(command).tobytes() for command in default_plan["valid"][::12])
    assert sha256(recorded).hexdigest()[:16] == "5ce7d2af5dbd9688"


@needs_espeak
def test_telephone_passes_frequencies_below_4_khz_only(default_plan):
    command = replace(default_plan["train"][0], noise=0)
    plain, heard = (record(replace(command, telephone=telephone)).astype(float) for telephone in (False, True))
    high, low = (
        {name: np.abs(np.fft.rfft(x))[part].std() for name, x in (("plain", plain), ("heard", heard))}
        for part in (slice(len(plain) * 5000 // 16000, None), slice(0, len(plain) * 3000 // 16000))
    )
    assert len(plain) == len(heard) and high["heard"] < 0.03 * high["plain"]
    assert low["heard"] == pytest.approx(low["plain"], rel=0.02)
