import logging
from collections import Counter

import numpy as np
import pytest
import torch

from mmcl.data import SpokenDigits, class_incremental
from mmcl.data.avalanche_streams import rows_of
from mmcl.data.scenarios import plan_stream
from mmcl.errors import StreamError
from mmcl.metrics import summary
from mmcl.strategies import naive
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


class Noisy:
    """Three classes at three levels of noise, with ten samples each."""

    classes = ("a", "b", "c")

    def __init__(self, lacking=()):
        cells = [(label, level) for label in range(3) for level in (0, 5, 10) if (label, level) not in lacking]
        self.labels = [label for label, _ in cells for _ in range(10)]
        self.noise = np.array([level for _, level in cells for _ in range(10)])
        self.texts = [self.classes[label] for label in self.labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"features": torch.ones(2) * self.labels[row], "label": self.labels[row], "text": self.texts[row]}


@pytest.fixture
def digits(data_dir):
    return [SpokenDigits(data_dir / "fsdd", split) for split in ("train", "test")]


def test_speakers_arrive_with_all_classes(digits):
    order = ["theo", "george", "jackson", "lucas", "nicolas", "yweweler"]
    benchmark = class_incremental(*digits, 5, order, domain="speakers")
    assert benchmark.description["domains"] == [order[:2], *([name] for name in order[2:])]
    assert [len(names) for names in benchmark.description["experiences"]] == [10, 0, 0, 0, 0]
    for stream, data in zip((benchmark.train_stream, benchmark.test_stream), digits, strict=True):
        rows = []
        for experience, names in zip(stream, benchmark.description["domains"], strict=True):
            assert {data.speakers[row] for row in experience.dataset.rows} == set(names)
            assert experience.group == list(range(10))
            rows += rows_of(experience)
        assert sorted(rows) == list(range(len(data)))


def test_domains_may_be_numbers_in_an_order_by_seed():
    plans = [plan_stream(Noisy(), Noisy(), 3, seed=seed, domain="noise") for seed in (0, 0, 1)]
    assert plans[0] == plans[1] and plans[0].domains != plans[2].domains
    assert sorted(plans[0].domains) == [["0"], ["10"], ["5"]]
    ordered = plan_stream(Noisy(), Noisy(), 2, ["0", "5", "10"], domain="noise")
    assert ordered.domains == [["0", "5"], ["10"]] and [len(part.rows) for part in ordered.train] == [60, 30]


def test_a_class_may_lack_samples_in_a_domain(caplog):
    with caplog.at_level(logging.WARNING, "mmcl"):
        plan = plan_stream(Noisy(lacking=[(1, 5)]), Noisy(), 3, ["5", "0", "10"], domain="noise")
    assert plan.train[0].group == [0, 2] and plan.arriving == [[0, 2], [1], []]
    assert "1 of 3 domains lack classes in train, first '5' without 'b'" in caplog.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"domain": "noize"}, "Noisy.*'noize'.*'noise'"),
        ({"domain": "noise", "experiences": 4}, "4 for 3 domains"),
        ({"domain": "noise", "experiences": 3, "class_order": ["0", "5"]}, "3 domains"),
        ({"domain": "noise", "blur": 0.1}, "'noise'.*blur"),
        ({"domain": "noise", "by_superclass": True}, "'noise'.*by_superclass"),
        ({"experiences": 3, "shots": 31}, "'[abc]' has 30 samples in experience 1.*31.*30"),
        ({"blur": 0.5, "shots": 2}, "blur is 0.5 and shots is 2"),
        ({"experiences": 1, "blur": 0.5}, "0.5 for 1 experience"),
    ],
)
def test_faulty_scenarios_raise(settings, named):
    with pytest.raises(StreamError, match=named):
        class_incremental(Noisy(), Noisy(), **{"experiences": 3, **settings})


def test_domains_must_have_samples_in_train_and_test():
    test = Noisy(lacking=[(label, 5) for label in range(3)])
    with pytest.raises(StreamError, match="'5' of noise has 0 samples in test"):
        class_incremental(Noisy(), test, 3, domain="noise")


def test_later_experiences_have_few_samples_of_each_class(digits):
    benchmark = class_incremental(*digits, 5, seed=3, shots=4)
    whole = class_incremental(*digits, 5, seed=3)
    assert benchmark.description["train_sizes"] == [480, 8, 8, 8, 8]
    assert benchmark.description["test_sizes"] == whole.description["test_sizes"]
    for few, all_ in zip(benchmark.train_stream, whole.train_stream, strict=True):
        assert few.group == all_.group and set(few.dataset.rows) <= set(all_.dataset.rows)
        assert set(Counter(few.dataset.targets).values()) in ({4}, {240})
    again = class_incremental(*digits, 5, seed=3, shots=4)
    assert list(again.train_stream[1].dataset.rows) == list(benchmark.train_stream[1].dataset.rows)


def test_a_share_of_each_class_arrives_in_other_experiences(digits):
    benchmark = class_incremental(*digits, 5, seed=1, blur=0.25)
    own = class_incremental(*digits, 5, seed=1)
    labels, rows = digits[0].labels, []
    for blurred, sharp in zip(benchmark.train_stream, own.train_stream, strict=True):
        counts = Counter(labels[row] for row in blurred.dataset.rows)
        assert all(counts[label] == 180 for label in sharp.group)
        assert blurred.group[:2] == sharp.group and set(blurred.group) == set(counts)
        assert blurred.classes_in_this_experience == set(counts)
        rows += rows_of(blurred)
    assert sorted(rows) == list(range(len(labels)))
    for blurred, sharp in zip(benchmark.test_stream, own.test_stream, strict=True):
        assert list(blurred.dataset.rows) == list(sharp.dataset.rows)


def test_a_class_that_arrives_again_keeps_one_accuracy_over_its_domains():
    torch.manual_seed(0)
    benchmark, accuracy = class_incremental(Noisy(), Noisy(), 3, ["0", "5", "10"], domain="noise"), AccuracyMatrix()
    model = torch.nn.Linear(2, 3)
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.5), epochs=20, plugins=[accuracy])
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
        overall = sum(accuracy.per_class[-1].values()) / 3
        assert overall == pytest.approx(sum(accuracy.matrix[-1]) / 3)
    assert summary(accuracy.matrix, accuracy.sizes)["forward_transfer"] > 0
