import pytest
import torch

from mmcl.batch import Batch
from mmcl.data import class_incremental
from mmcl.data.base import Entity
from mmcl.errors import InputError
from mmcl.models import Frame
from mmcl.models.seq2seq import Understood
from mmcl.strategies import naive
from mmcl.strategies.frame_scores import FrameScores, frame_scores

TIME = (Entity("time", "five am"),)


def test_scores_of_two_frames_by_hand():
    said = [Frame("alarm set", TIME, "wake me at five am"), Frame("music play", (), "play some jazz")]
    decoded = [Frame("alarm set", TIME, "wake me at nine am"), Frame("", (), "play jazz")]
    scores = frame_scores(list(zip(said, decoded, strict=True)))
    assert scores["word_error_rate"] == pytest.approx(2 / 8)  # "nine" for "five", and "some" is missing
    # 2 + 3 + 5 and 2 + 3 words; "music play" is missing as well
    assert scores["sequence_error_rate"] == pytest.approx(4 / 15)
    assert scores["slu_f1"] == 1.0 and scores["without_intent"] == 0.5


def test_slu_f1_is_none_without_entities():
    assert frame_scores([(Frame("a", (), "yes"), Frame("a", (), "yes"))])["slu_f1"] is None
    invented = frame_scores([(Frame("a", (), "yes"), Frame("a", TIME, "yes"))])
    assert invented["slu_f1"] == 0.0


class Three:
    """Six samples of three classes; the text of a sample is the name of its class."""

    classes = ("zero", "one", "two")
    labels = [0, 0, 1, 1, 2, 2]
    texts = ["zero", "zero", "one", "one", "two", "two"]

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"label": self.labels[index], "text": self.texts[index]}


class Writer(torch.nn.Module):
    """A model that decodes "zero" for every sample."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def grow(self, labels):
        """The head always has all classes."""

    def frames(self, batch: Batch):
        return [Frame(text, (), text) for text in batch["text"]]

    def forward(self, batch: Batch):
        logits = self.weight.expand(batch.size, 3)
        return Understood(logits, logits, [Frame("zero", (), "zero")] * batch.size)


def test_rows_score_all_experiences_seen_so_far_and_are_restored():
    benchmark, scores = class_incremental(Three(), Three(), 3, class_order=[0, 1, 2]), FrameScores()
    model = Writer()
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.0), plugins=[scores])
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    assert [row["word_error_rate"] for row in scores.rows] == pytest.approx([0, 1 / 2, 2 / 3])
    average = scores.average()
    assert average["word_error_rate"] == pytest.approx((1 / 2 + 2 / 3) / 3) and average["slu_f1"] is None
    restored = FrameScores()
    restored.load_state_dict(scores.state_dict(strategy), strategy)
    assert restored.rows == scores.rows


def test_the_word_error_rate_is_none_without_transcripts():
    said = [Frame("alarm set", (), ""), Frame("alarm off", (), " ")]
    scores = frame_scores([(frame, frame) for frame in said])
    assert scores["word_error_rate"] is None and scores["sequence_error_rate"] == 0.0


ORDERS = {
    "reversed": lambda stream: [list(stream)[::-1]],
    "one by one": list,
    "seen and twice": lambda stream: [stream, stream],
}


@pytest.mark.parametrize("order", ORDERS)
def test_scores_do_not_depend_on_the_order_of_evaluation(order):
    benchmark, scores = class_incremental(Three(), Three(), 3, class_order=[0, 1, 2]), FrameScores()
    model = Writer()
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.0), plugins=[scores])
    strategy.eval(benchmark.test_stream)  # before any training: makes no row
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        for evaluated in ORDERS[order](benchmark.test_stream):
            strategy.eval(evaluated)
        strategy.eval(benchmark.train_stream)
    assert [row["word_error_rate"] for row in scores.rows] == pytest.approx([0, 1 / 2, 2 / 3])


def test_a_row_is_none_if_an_experience_seen_so_far_was_not_evaluated():
    benchmark, scores = class_incremental(Three(), Three(), 3, class_order=[0, 1, 2]), FrameScores()
    model = Writer()
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.0), plugins=[scores])
    for number, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream[1:] if number == 1 else benchmark.test_stream)
    assert [row["word_error_rate"] for row in scores.rows] == [0, None, pytest.approx(2 / 3)]
    with pytest.raises(InputError, match="experience 1"):
        scores.average()
