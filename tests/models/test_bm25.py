import subprocess
import sys
from collections import Counter
from math import log

import pytest
import torch

from mmcl.data import Cranfield
from mmcl.errors import InputError
from mmcl.metrics.ranking import rank_documents, ranking_measures
from mmcl.models.bm25 import bm25_scores

DOCUMENTS = ["wing flutter wing", "heat flow plate", "flutter heat heat panel"]


def test_scores_equal_the_formula():
    words = [document.split() for document in DOCUMENTS]
    mean = sum(map(len, words)) / len(words)
    query = ["flutter", "heat"]
    expected = torch.zeros(3)
    for place, document in enumerate(words):
        for word in query:
            frequency, holders = Counter(document)[word], sum(word in each for each in words)
            weight = log(1 + (len(words) - holders + 0.5) / (holders + 0.5))
            expected[place] += weight * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
    assert torch.allclose(bm25_scores([" ".join(query)], DOCUMENTS)(0, 1)[0], expected)


def test_queries_without_known_words_score_nothing():
    scores = bm25_scores(["of the", "zebra", "zebra flutter"], [*DOCUMENTS, ""])(0, 3)
    assert scores.shape == (3, 4) and not scores[:2].any() and scores[2].count_nonzero() == 2


def test_documents_without_words_are_refused():
    with pytest.raises(InputError, match="2 documents"):
        bm25_scores(["a"], ["", "of the"])


def test_words_rank_cranfield_well(data_dir):
    shelf = Cranfield(data_dir / "cranfield", "test")
    ranked = rank_documents(bm25_scores(shelf.queries, shelf.documents), shelf.judgements)
    measures = ranking_measures(ranked, shelf.judgements)
    assert measures["nDCG@10"] > 0.3 and measures["MRR@10"] > 0.5 and measures["Recall@100"] > 0.6, measures


def test_jax_is_not_started():
    """It is there, by way of avalanche, and would warn of each process that is forked later."""
    code = (
        "import sys; from mmcl.models.bm25 import bm25_scores; bm25_scores(['wings'], ['wings']); "
        "print('jax' in sys.modules); import jax"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
