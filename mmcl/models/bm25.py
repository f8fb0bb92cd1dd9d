"""BM25: scores of documents by the words that they share with a query, a baseline that needs no training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmcl.errors import InputError
from mmcl.metrics.ranking import Scores


def bm25_scores(queries: Sequence[str], documents: Sequence[str], *, k1: float = 1.5, b: float = 0.75) -> Scores:
    """Return the function that computes BM25 scores, by ``bm25s`` in the variant of Lucene.

    English stop words are removed, and words are not stemmed. For other languages, these stop words are rare.

    Args:
        queries: text of each query.
        documents: text of each document.
        k1: saturation of the frequency of a word.
        b: weight of the length of a document, from 0 to 1.

    Raises:
        InputError: there is no document with a word.

    >>> bm25_scores(["of wings", "of"], ["wings flutter", "heat of plates"])(0, 2).argmax(1).tolist()
    [0, 0]
    """
    bm25s = _bm25s()

    def words(texts: Sequence[str]) -> list[list[str]]:
        return bm25s.tokenize(list(texts), stopwords="english", return_ids=False, show_progress=False)

    shelf = words(documents)
    known = {word for document in shelf for word in document}
    if not known:
        raise InputError(f"{len(documents)} documents have no words, expected some to rank: check their texts")
    ranker = bm25s.BM25(k1=k1, b=b)
    ranker.index(shelf, show_progress=False)
    asked = [[word for word in query if word in known] for query in words(queries)]
    nothing = np.zeros(len(documents), dtype=np.float32)

    def scores(start: int, end: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([ranker.get_scores(q) if q else nothing for q in asked[start:end]]))

    return scores


def _bm25s() -> Any:
    """Import ``bm25s`` without JAX, which it would start, and which then warns of each process that is forked."""
    started = "jax" in sys.modules
    if not started:
        sys.modules["jax"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import bm25s
    finally:
        if not started:
            del sys.modules["jax"]
    return bm25s
