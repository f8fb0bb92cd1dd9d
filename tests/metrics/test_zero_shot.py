import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score
from torch.nn.functional import normalize

from mmcl.errors import ConfigError, InputError, LabelError, ShapeError
from mmcl.metrics.zero_shot import check_prompts, class_embeddings, prompts, zero_shot, zero_shot_scores


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_accuracies_match_scikit_learn():
    scores, labels = random(200, 9), torch.arange(200) % 9
    result, predicted = zero_shot(scores, labels), scores.argmax(1)
    assert result.top1 == pytest.approx(top_k_accuracy_score(labels, scores, k=1))
    assert result.top5 == pytest.approx(top_k_accuracy_score(labels, scores, k=5))
    assert result.confusion == confusion_matrix(labels, predicted).tolist()
    assert result.per_class == pytest.approx(recall_score(labels, predicted, average=None).tolist())


def test_class_without_samples_has_no_accuracy():
    result = zero_shot(torch.tensor([[0.1, 0.9, 0.0]]), torch.tensor([1]))
    assert result.per_class == [None, 1.0, None] and result.top5 == 1.0 and result.confusion[1] == [0, 1, 0]


def test_class_embedding_is_the_mean_direction_of_its_prompts():
    embeddings = random(5, 4) * torch.tensor([1.0, 10.0, 100.0, 1.0, 5.0])[:, None]  # norms do not matter
    classes = class_embeddings(embeddings, [3, 2])
    directions = normalize(embeddings, dim=1)
    assert torch.allclose(classes[0], normalize(directions[:3].mean(0), dim=0), atol=1e-6)
    assert torch.allclose(classes[1], normalize(directions[3:].mean(0), dim=0), atol=1e-6)


def test_scores_are_cosines():
    samples, classes = random(6, 4), random(3, 4, seed=1)
    expected = torch.cosine_similarity(samples[:, None], classes[None], dim=2)
    assert torch.allclose(zero_shot_scores(samples, classes), expected, atol=1e-6)


def test_hubness_correction_matches_a_slow_loop():
    samples, classes, k = random(20, 4), random(5, 4, seed=1), 3
    cosines = torch.cosine_similarity(samples[:, None], classes[None], dim=2)
    expected = torch.empty(20, 5)
    for i in range(20):
        for j in range(5):
            near_class = sum(sorted(cosines[:, j].tolist())[-k:]) / k
            near_sample = sum(sorted(cosines[i].tolist())[-k:]) / k
            expected[i, j] = 2 * cosines[i, j] - near_class - near_sample
    assert torch.allclose(zero_shot_scores(samples, classes, hubness=k), expected, atol=1e-6)


def test_hubness_correction_reduces_errors_of_a_hub():
    """Return cosines: 0.6 with the true class, 0 with three others, 0.62 with a hub class."""
    own = torch.eye(6)[:4]
    samples = 0.6 * own + torch.tensor([0, 0, 0, 0, 0.62, (1 - 0.6**2 - 0.62**2) ** 0.5])
    classes, labels = torch.eye(6)[:5], torch.arange(4)
    plain, corrected = (zero_shot(zero_shot_scores(samples, classes, hubness=k), labels).top1 for k in (None, 4))
    assert plain == 0.0 and corrected == 1.0


def test_prompts_are_words_in_templates():
    assert prompts(["lights_on", "caffe  latte"], ["{}", "say {}"]) == {
        "lights_on": ["lights on", "say lights on"],
        "caffe  latte": ["caffe latte", "say caffe latte"],
    }


@pytest.mark.parametrize("template", ["no place", "{} and {}", "{0}", "{} {x}", "{} }"])
def test_template_has_one_placeholder(template):
    with pytest.raises(ConfigError, match="template"):
        prompts(["a"], [template])


def test_classes_with_equal_prompts_raise():
    with pytest.raises(ConfigError, match="prompt 'lights on' is of 'lights_on' and of 'lights on'"):
        prompts(["lights_on", "lights on"])
    with pytest.raises(ConfigError, match="class 'on' is named twice"):
        prompts(["on", "off", "on"])
    with pytest.raises(ConfigError, match="0 templates"):
        prompts(["on"], [])


def test_prompts_are_checked_against_classes():
    with pytest.raises(ConfigError, match="unknown class 'late'.*latte"):
        check_prompts({"late": ["a latte"]}, ["latte", "mocha"])
    with pytest.raises(ConfigError, match="class 'mocha' has no prompts"):
        check_prompts({"latte": ["a latte"]}, ["latte", "mocha"])
    with pytest.raises(ConfigError, match="class 'latte' has no prompt, or an empty one"):
        check_prompts({"latte": [" "]})
    check_prompts({"latte": ["a latte", "a latte"], "mocha": ["a mocha"]}, ["latte", "mocha"])


def test_invalid_inputs_raise():
    with pytest.raises(LabelError, match="labels range from 0 to 3, expected 0 to 2"):
        zero_shot(torch.ones(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ShapeError, match="at least one sample"):
        zero_shot(torch.ones(0, 3), torch.ones(0, dtype=torch.long))
    with pytest.raises(ShapeError, match="equal dimensions"):
        zero_shot_scores(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(InputError, match="not finite"):
        zero_shot_scores(torch.full((2, 3), float("inf")), torch.ones(2, 3))
    with pytest.raises(ConfigError, match="hubness is 0"):
        zero_shot_scores(torch.ones(2, 3), torch.ones(2, 3), hubness=0)
    with pytest.raises(ShapeError, match="expected 3 rows"):
        class_embeddings(torch.ones(2, 3), [1, 2])


@pytest.mark.parametrize("scale", [1e-13, 1e-30, 1e20, 1e37])
def test_norms_do_not_matter(scale):
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(class_embeddings(scale * rows, [2, 2]), class_embeddings(rows, [2, 2]))
    torch.testing.assert_close(zero_shot_scores(scale * rows, torch.eye(3)), zero_shot_scores(rows, torch.eye(3)))
