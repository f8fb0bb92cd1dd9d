import pytest
import torch

from mmcl.errors import ConfigError, MissingDataError, ShapeError
from mmcl.models.text_to_text import TextToText

TEXTS = ["Dan had $ 4 and spent 3.\nHow much is left?", "( 4.0 - 3.0 )", "one and one is two, and three is one more"]
SIZES = {"vocabulary": 120, "dim": 16, "layers": 1, "heads": 2, "dropout": 0.0}


@pytest.fixture
def student():
    torch.manual_seed(0)
    return TextToText.from_scratch(TEXTS * 3, **SIZES)


def test_subwords_round_trip(student):
    for text in (*TEXTS, "( 12.5 * ( 3.0 + 48.0 ) )"):
        ids = student.tokenizer(text)["input_ids"]
        assert ids[-1] == student.tokenizer.eos_token_id
        assert student.tokenizer.decode(ids, skip_special_tokens=True) == text
    digits = student.tokenizer.tokenize("( 43.0 )")
    assert "4" in digits and "3" in digits  # each digit is one token
    assert student.tokenizer.get_vocab() == TextToText.from_scratch(TEXTS * 3, **SIZES).tokenizer.get_vocab()


def test_losses_do_not_depend_on_the_rest_of_the_batch(student):
    student.eval()
    together = student(student.batch(TEXTS, TEXTS[::-1]))
    alone = [student(student.batch([a], [b])).losses for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    torch.testing.assert_close(together.losses, torch.cat(alone), atol=1e-5, rtol=1e-5)
    logs = together.logits[1].log_softmax(1)
    ids = student.tokenizer(TEXTS[1])["input_ids"]
    assert together.mask[1].sum() == len(ids)
    expected = -sum(logs[place, token] for place, token in enumerate(ids)) / len(ids)
    torch.testing.assert_close(together.losses[1], expected)


def test_a_source_is_encoded_once_for_several_targets(student):
    rows, written = [1, 0, 1], [*TEXTS[:2], "two"]
    shared = student(student.batch(TEXTS[:2], written, rows))
    apart = student(student.batch([TEXTS[row] for row in rows], written))
    torch.testing.assert_close(shared.losses, apart.losses)
    assert student.batch(TEXTS[:2], written, rows)["source"].shape[0] == 2
    with pytest.raises(ShapeError, match="0 and 2.* 2 sources"):
        student.batch(TEXTS[:2], ["a", "b"], [0, 2])
    with pytest.raises(ShapeError, match="1 sources and 2 targets"):
        student.batch(TEXTS[:2], ["a", "b"], [0])


def test_training_reduces_the_loss_and_sampling_follows_the_seed(student):
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    batch = student.batch(["one", "two"], ["one more", "is left"])
    for _ in range(60):
        optimizer.zero_grad()
        student(batch).losses.mean().backward()
        optimizer.step()
    assert student.write(["two", "one"], batch_size=1) == ["is left", "one more"]
    assert student.training
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(student.write(["two"] * 4, temperature=3.0, longest=12))
    assert drawn[0] == drawn[1] != drawn[2]


def test_long_texts_are_truncated_and_counted(student):
    student.longest = 4
    batch = student.batch(TEXTS, ["one"] * 3)
    assert batch["source"].shape == (3, 4) and student.truncated == 3
    assert batch["source"][:, -1].tolist() == [student.tokenizer.eos_token_id] * 3


def test_a_saved_model_gives_the_same_losses(student, tmp_path):
    student.save(tmp_path / "model")
    again = TextToText.pretrained(tmp_path / "model").eval()
    batch = student.eval().batch(TEXTS, TEXTS)
    assert torch.equal(again(again.batch(TEXTS, TEXTS)).losses, student(batch).losses)


def test_invalid_arguments_are_an_error(student, weights_dir):
    with pytest.raises(ConfigError, match="heads=3, dropout=0.0"):
        TextToText.from_scratch(TEXTS, **{**SIZES, "heads": 3})
    with pytest.raises(ShapeError, match="2 sources and 1 targets"):
        student.batch(["a", "b"], ["c"])
    with pytest.raises(ShapeError, match="0 sources"):
        student.batch([])
    with pytest.raises(ConfigError, match="temperature=0"):
        student.write(["a"], temperature=0.0)
    with pytest.raises(MissingDataError, match="download"):
        TextToText.pretrained("google/t5-v1_1-nothing")
    with pytest.raises(ConfigError, match="t5"):
        TextToText.pretrained(weights_dir / "all-MiniLM-L6-v2")
