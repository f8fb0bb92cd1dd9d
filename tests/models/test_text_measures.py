import pytest
import torch

from mmcl.data import Collection, TextPairs
from mmcl.encoders import build_encoder
from mmcl.models import TwoTower
from mmcl.models.text_measures import embedded_texts, text_measures, word_measures
from mmcl.models.two_tower import embed_texts

WORDS = ["wing", "heat", "flow", "plate", "panel", "shock", "wave", "body", "cone", "layer"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoTower(build_encoder("text", "words", dim=32), first_head="none")


def shelf(words=WORDS):
    documents = {word: f"about {word} and {word}" for word in WORDS}
    return Collection(documents, {word: word for word in words}, [(word, word, 2) for word in words])


def test_embeddings_are_those_of_the_tower_in_the_order_of_the_texts(model):
    texts = ["wing of a plate", "heat", "wing of a plate", "flow"]
    found = embedded_texts(model.first, texts, batch_size=2)
    assert torch.allclose(found, embed_texts(model, texts), atol=1e-6)


def test_collections_are_measured_by_retrieval(model):
    measures = text_measures(model.first, shelf(), shelf(WORDS[:5]))
    assert list(measures) == ["nDCG@10", "MRR@10", "Recall@100", "pooled AUC", "calibration error"]
    assert measures["MRR@10"] > 0.9 and measures["pooled AUC"] > 0.9
    assert "calibration error" not in text_measures(model.first, shelf())
    words = word_measures(shelf(), shelf(WORDS[:5]))
    assert words.keys() == measures.keys() and words["MRR@10"] == words["pooled AUC"] == 1


def test_graded_pairs_are_measured_by_correlation(model):
    pairs = TextPairs(["wing heat"] * 3, ["wing heat", "wing flow", "plate flow"], scores=[5.0, 3.0, 0.0])
    assert text_measures(model.first, pairs)["Spearman"] == pytest.approx(1)
    assert word_measures(pairs) == {}


def test_pairs_without_scores_search_all_passages(model):
    pairs = TextPairs(WORDS, [f"about {word}" for word in WORDS])
    assert text_measures(model.first, pairs)["MRR@10"] > 0.9 and word_measures(pairs)["MRR@10"] == 1
