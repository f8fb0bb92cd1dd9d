import math

import pytest
import torch

from mmcl.errors import ConfigError, DataError, InputError, LabelError
from mmcl.metrics.few_shot import aligned_prototypes, few_shot


def clusters(noise, classes=6, each=30):
    torch.manual_seed(0)
    labels = torch.arange(classes).repeat(each)
    return torch.eye(8)[labels] + noise * torch.randn(len(labels), 8), labels.tolist()


def test_separate_classes_are_recognized_and_noise_is_at_chance():
    assert few_shot(*clusters(0.01), episodes=20).eq(1).all()
    assert few_shot(*clusters(1000.0), ways=4, episodes=300).mean().item() == pytest.approx(0.25, abs=0.03)


def test_more_shots_are_better():
    one, five = (few_shot(*clusters(0.5), shots=shots, episodes=200).mean() for shots in (1, 5))
    assert one + 0.05 < five


def test_support_is_not_among_the_queries():
    """With two samples of each class, opposite to each other, a query is nearest to a mean of another class."""
    sides = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    embeddings, labels = torch.cat([sides, -sides]), [0, 1, 0, 1]
    assert few_shot(embeddings, labels, ways=2, shots=1, queries=1, episodes=50).max() < 1


def test_seeds_and_norms():
    embeddings, labels = clusters(0.5)
    found = few_shot(embeddings, labels, episodes=10, seed=1)
    assert torch.equal(found, few_shot(embeddings, labels, episodes=10, seed=1))
    assert not torch.equal(found, few_shot(embeddings, labels, episodes=10, seed=2))
    scaled = embeddings * (0.1 + torch.rand(len(labels), 1))
    assert torch.allclose(found, few_shot(scaled, labels, episodes=10, seed=1))


def test_bad_input_is_refused():
    embeddings, labels = clusters(0.1, each=10)
    for wrong in ({"ways": 1}, {"shots": 0}, {"queries": 0}, {"episodes": 0}):
        with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
            few_shot(embeddings, labels, **wrong)
    with pytest.raises(DataError, match="0 classes have 16"):
        few_shot(embeddings, labels)
    with pytest.raises(DataError, match="6 classes have 10 .*expected 7"):
        few_shot(embeddings, labels, ways=7, queries=9)
    with pytest.raises(LabelError):
        few_shot(embeddings, labels[:-1])
    with pytest.raises(InputError):
        few_shot(embeddings * float("nan"), labels)


def slow_aligned(prototypes, queries, shots):
    """Sinkhorn's algorithm by scaling rows and columns, for one episode."""
    moved = prototypes
    for _ in range(5 if shots == 1 else 1):
        cost = [[sum((float(x) - float(y)) ** 2 for x, y in zip(c, q, strict=True)) for q in queries] for c in moved]
        largest = max(map(max, cost))
        plan = torch.tensor([[math.exp(-each / largest / 0.05) for each in row] for row in cost], dtype=torch.float64)
        for _ in range(400):
            plan = plan / plan.sum(1, keepdim=True) / len(prototypes)
            plan = plan / plan.sum(0) / len(queries)
        moved = torch.stack([sum(w * q for w, q in zip(row, queries, strict=True)) / row.sum() for row in plan])
    return moved if shots == 1 else 0.7 * moved + 0.3 * prototypes


@pytest.mark.parametrize("shots", [1, 5])
def test_aligned_prototypes_equal_the_slow_loop(shots):
    generator = torch.Generator().manual_seed(0)
    prototypes, queries = (torch.randn(2, each, 3, generator=generator, dtype=torch.float64) for each in (3, 9))
    found = aligned_prototypes(prototypes, queries, shots=shots)
    for episode in range(2):
        assert torch.allclose(found[episode], slow_aligned(prototypes[episode], queries[episode], shots), atol=5e-3)


def test_transport_helps_most_with_one_shot():
    gains = []
    for shots in (1, 5):
        before, after = (
            few_shot(*clusters(0.5), shots=shots, episodes=200, transport=each).mean().item() for each in (False, True)
        )
        gains.append(after - before)
    assert gains[0] > 0.03 and gains[0] > gains[1]


def test_equal_embeddings_and_episodes_in_parts():
    assert few_shot(torch.ones(40, 3), [0, 1] * 20, ways=2, episodes=3, queries=4, transport=True).isfinite().all()
    embeddings, labels = clusters(0.5)
    first = few_shot(embeddings, labels, episodes=70, transport=True)[:10]  # two parts
    assert torch.equal(first, few_shot(embeddings, labels, episodes=70, transport=True)[:10])
