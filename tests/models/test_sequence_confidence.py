"""Confidence of decoded sequences."""

import pytest
import torch

from mmcl.batch import Batch
from mmcl.data.base import Entity
from mmcl.encoders import build_encoder
from mmcl.models import Frame, FrameTokenizer, SLUSeq2Seq
from mmcl.models.sequence_confidence import answer_length, sequence_confidence

FRAMES = [
    Frame("order", (Entity("size", "large"), Entity("drink", "latte")), "a large latte please"),
    Frame("stop", (), "stop"),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tokenizer = FrameTokenizer.train(FRAMES, ["order", "stop"], vocabulary=80, dropout=0.0)
    encoder = build_encoder("audio", "cnn", dim=16)
    return SLUSeq2Seq(encoder, tokenizer, dim=16, layers=1, heads=2, feedforward=16, max_tokens=12).eval()


def test_the_transcript_is_not_counted(model):
    short = model.tokenizer.encode(Frame("stop", (), ""))
    assert answer_length(model, model.tokenizer.encode(FRAMES[1])) == 2 == len(short) - 1
    whole, without = (model.tokenizer.encode(frame) for frame in (FRAMES[0], FRAMES[0]._replace(transcript="")))
    assert answer_length(model, whole) == len(without) - 1 < len(whole)
    unfinished = whole[:5]  # ends within an entity
    assert answer_length(model, unfinished) == 5 and answer_length(model, [model.tokenizer.end]) == 1


@torch.no_grad()
def test_confidence_is_the_geometric_mean_of_token_probabilities(model):
    encoded = model.encode(Batch(audio=torch.randn(2, 8000), audio_lengths=torch.tensor([8000, 6000])))
    sequences = [model.tokenizer.encode(frame) for frame in FRAMES]
    found = sequence_confidence(model, encoded, sequences)
    for row, sequence in enumerate(sequences):
        one = type(encoded)(*(part[row : row + 1] for part in encoded))
        probability, before = 1.0, [model.tokenizer.start]
        for token in sequence[: answer_length(model, sequence)]:
            targets = torch.tensor([[*before[1:], token]])
            probability *= float(model.teacher_forced(one, targets)[0, -1].softmax(-1)[token])
            before.append(token)
        assert float(found[row]) == pytest.approx(probability ** (1 / (len(before) - 1)), rel=1e-4)
