import pytest
import torch
from torch import nn

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import ImageClassifier, MultimodalClassifier, SLUClassifier
from mmcl.models.tensor_classifier import logits_of
from mmcl.unlearning.parts import Inputs, Parts, reinitialized


class Bare(nn.Module):
    """Model without a usual classifier name, which returns a tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, batch):
        return self.second(self.first(batch["features"]).relu())


@pytest.fixture
def batch():
    return Batch(image=torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)))


def test_representation_is_the_input_of_the_classifier(batch):
    for model in (ImageClassifier(), SLUClassifier(build_encoder("image", "cnn", dim=8), hidden=4).eval()):
        if isinstance(model, SLUClassifier):
            model.grow(range(3))
        parts = Parts(model)
        found = parts(batch)
        assert torch.equal(found.representation, model.embed(batch))
        assert torch.equal(parts.classifier(found.representation), found.logits)
        assert torch.equal(found.logits, model(batch).logits)
        assert not parts.classifier._forward_pre_hooks  # the hook is removed
        ids = {id(each) for each in model.parameters()}
        split = [id(each) for each in [*parts.extractor_parameters(), *parts.classifier_parameters()]]
        assert len(split) == len(ids) and set(split) == ids


def test_classifier_with_an_unusual_name_is_the_last_linear_layer_or_given():
    model, batch = Bare(), Batch(features=torch.ones(4, 3))
    assert Parts(model).name == "second"
    with pytest.raises(ConfigError, match="head, classifier, fc.*only"):
        Parts(torch.nn.ModuleDict({"only": torch.nn.ReLU()}))
    with pytest.raises(ConfigError, match="'secnd'.*'second'"):
        Parts(model, "secnd")
    found = Parts(model, "second")(batch)
    assert torch.equal(found.representation, model.first(batch["features"]).relu())
    assert torch.equal(found.logits, model(batch))


def test_module_without_a_representation_as_input_is_refused(batch):
    views = {name: build_encoder("tabular", "mlp", features=3, dim=4) for name in ("one", "other")}
    model = MultimodalClassifier(views, hidden=6)
    model.grow([0, 1])
    both = Batch(one=torch.ones(2, 3), other=torch.ones(2, 3))
    with pytest.raises(ConfigError, match="'head'.*MultimodalClassifier.* 0 "):
        Parts(model)(both)
    assert Parts(model, "head.output")(both).representation.shape == (2, 6)
    with pytest.raises(ConfigError, match=r"\(3, 1, 28, 28\)"):
        Parts(ImageClassifier(), "extractor")(batch)


def test_represent_runs_in_evaluation_mode(forget):
    model = ImageClassifier().train()
    model.extractor.append(nn.Dropout(0.5))
    once, again = (Parts(model).represent(forget, batch_size=size) for size in (7, 256))
    assert model.training and len(once.logits) == len(forget)
    assert torch.allclose(once.representation, again.representation, atol=1e-5)


def test_inputs_have_no_labels(forget):
    batch = Inputs(forget).batch(torch.tensor([0, 2]))
    assert set(batch) == {"image", "text"} and torch.equal(batch["image"][1], forget[2]["image"])
    assert len(Inputs(forget)) == len(forget)


def test_logits_of_a_tensor_and_of_an_output():
    logits = torch.ones(1, 2)
    assert logits_of(logits) is logits
    assert logits_of(ImageClassifier()(Batch(image=torch.zeros(1, 1, 28, 28)))).shape == (1, 10)


def test_only_trainable_parameters_are_reinitialized():
    model = SLUClassifier(build_encoder("image", "cnn", dim=8), hidden=4)
    model.grow(range(3))
    model.encoder.requires_grad_(False)
    fresh = reinitialized(model)
    for (name, old), new in zip(model.state_dict().items(), fresh.state_dict().values(), strict=True):
        drawn = name.startswith(("trunk", "head")) and name != "head.seen"
        assert torch.equal(old, new) != drawn, name

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(ConfigError, match=r"'own' \(Own\).*reset_parameters.*fresh"):
        reinitialized(nn.ModuleDict({"own": Own()}))
