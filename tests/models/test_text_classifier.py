import torch

from mmcl.batch import Batch
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText

TEXTS = ["set an alarm for five", "play some jazz please", "lights off"]


def make():
    torch.manual_seed(0)
    student = TextToText.from_scratch(TEXTS * 3, vocabulary=120, dim=16, layers=1, heads=2, dropout=0.0)
    return TextClassifier(student)


def test_logits_do_not_depend_on_the_rest_of_the_batch():
    model = make()
    model.grow([0, 2])
    together = model(Batch(text=TEXTS))
    assert together.logits.shape == (3, 3) and together.logits[:, 1].isneginf().all()
    for row, text in enumerate(TEXTS):
        alone = model(Batch(text=[text]))
        torch.testing.assert_close(alone.logits[0, [0, 2]], together.logits[row, [0, 2]])
        torch.testing.assert_close(alone.embedding[0], together.embedding[row])


def test_the_embedding_is_the_mean_of_the_tokens():
    model = make()
    model.grow([0])
    states = model.student.embed(model.student.batch(TEXTS[:1]))
    torch.testing.assert_close(model(Batch(text=TEXTS[:1])).embedding, states.mean(1))


def test_the_model_can_overfit_texts():
    model = make()
    model.grow([0, 1, 2])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(Batch(text=TEXTS)).logits, torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(Batch(text=TEXTS)).logits.argmax(1).tolist() == [0, 1, 2]
