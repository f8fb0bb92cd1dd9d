import pytest
import torch

from mmcl.data import PairedDataset, TextPairs
from mmcl.data.texts.text_pairs import view_of
from mmcl.encoders import build_encoder
from mmcl.encoders.encoded_pairs import EncodedPairs

TRIPLES = TextPairs(["turn it on", "play"], ["switch on now", "music"], ["off", "stop it all please"], [4.0, 2.0])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))


@pytest.mark.parametrize("frozen", [False, True])
def test_views_of_a_batch_have_the_encoding_of_their_texts(frozen):
    encoder = build_encoder("text", "words", dim=8, frozen=frozen)
    data = EncodedPairs(TRIPLES, encoder)
    batch = data.batch(torch.tensor([1, 0]))
    for number, column in enumerate(TRIPLES.columns()):
        found = encoder.encode_batch(view_of(number)(batch)).pooled
        assert torch.allclose(found, encoder([column[1], column[0]]).pooled, atol=1e-6)
    assert (data.lengths is None) == frozen
    assert data.vectors(range(2)).shape == ((6, 8) if frozen else (13, 1))


def test_pairs_keep_their_scores_and_their_longest_text():
    pairs = PairedDataset(EncodedPairs(TRIPLES, build_encoder("text", "words", dim=8)))
    assert pairs.targets.tolist() == [4.0, 2.0] and pairs.lengths.tolist() == [3, 4]
    assert pairs.texts == ["turn it on", "play"] and pairs.negative_views == 1
