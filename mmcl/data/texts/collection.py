"""Collections for retrieval: documents, queries, and judgements of which documents are relevant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from mmcl.data.base import logger
from mmcl.data.texts.plain_texts import PlainTexts
from mmcl.data.texts.text_pairs import TextPairs
from mmcl.errors import DataError
from mmcl.text.suggest import nearest


class Collection(TextPairs):
    """Documents to search, queries, and the gain of each judged document.

    As text pairs, a collection has one pair for each query and each of its relevant documents.

    Documents and queries without text are skipped, and so are queries without a relevant document. A warning counts
    them, and the judgements that are lost with them.

    Args:
        documents: text of each document by id.
        queries: text of each query by id.
        judgements: query id, document id and gain; documents with a gain above 0 are relevant.
        where: name of the collection, for errors.

    Attributes:
        documents: text of each document.
        document_ids: id of each document.
        queries: text of each query.
        query_ids: id of each query.
        judgements: gain of the judged documents of each query, by position in ``documents``.
        missing: number of ``documents``, ``queries`` and ``judgements`` that were skipped.

    Raises:
        DataError: a judgement has an unknown document or query, or occurs twice; or no query with a relevant document
            remains.

    >>> shelf = Collection({"a": "wing flutter", "b": "heat"}, {"1": "flutter"}, [("1", "a", 3)])
    >>> shelf.judgements, shelf.first, shelf.second
    ([{0: 3}], ['flutter'], ['wing flutter'])
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        queries: Mapping[str, str],
        judgements: Iterable[tuple[str, str, int]],
        where: str = "the collection",
    ) -> None:
        gains = _gains(documents, queries, list(judgements), where)
        kept = {id: text for id, text in documents.items() if text.strip()}
        place = {id: row for row, id in enumerate(kept)}
        judged = {
            query: {place[id]: gain for id, gain in gains.get(query, {}).items() if id in place}
            for query, text in queries.items()
            if text.strip()
        }
        judged = {query: own for query, own in judged.items() if any(gain > 0 for gain in own.values())}
        if not judged:
            raise DataError(f"{where} has no query with a relevant document, expected at least 1: check its judgements")
        self.document_ids, self.documents = list(kept), list(kept.values())
        self.query_ids, self.queries = list(judged), [queries[id] for id in judged]
        self.judgements = list(judged.values())
        lost = sum(map(len, gains.values())) - sum(map(len, self.judgements))
        self.missing = {"documents": len(documents) - len(kept), "queries": len(queries) - len(judged)}
        self.missing["judgements"] = lost
        if any(self.missing.values()):
            counts = " and ".join(f"{count} {name}" for name, count in self.missing.items() if count)
            logger.warning("skipped %s of %s, which lack text or a relevant document", counts, where)
        rows = [(query, row) for query, own in enumerate(self.judgements) for row, gain in own.items() if gain > 0]
        super().__init__([self.queries[query] for query, _ in rows], [self.documents[row] for _, row in rows])

    @property
    def arrays(self) -> Sequence[Sequence[str] | Sequence[float]]:
        """The relevant documents, and a digest of all documents for each pair."""
        digest = blake2b("\0".join(self.documents).encode(errors="surrogatepass"), digest_size=8).hexdigest()
        return [*super().arrays, [digest] * len(self)]

    def plain_texts(self) -> PlainTexts:
        """Return the distinct documents, without queries and judgements, for unsupervised training."""
        return PlainTexts(list(dict.fromkeys(self.documents)))


def collection_of(pairs: TextPairs, where: str = "the pairs") -> Collection:
    """Return pairs as a collection: each distinct second text is a document, relevant to the first texts it is with.

    >>> collection_of(TextPairs(["on", "off"], ["lights", "lights"])).judgements
    [{0: 1}, {0: 1}]
    """
    documents = list(dict.fromkeys([*pairs.second, *(pairs.negatives or [])]))
    queries = list(dict.fromkeys(pairs.first))
    document_id = {text: str(row) for row, text in enumerate(documents)}
    query_id = {text: str(row) for row, text in enumerate(queries)}
    judged = dict.fromkeys((query_id[a], document_id[b]) for a, b in zip(pairs.first, pairs.second, strict=True))
    return Collection(
        {id: text for text, id in document_id.items()},
        {id: text for text, id in query_id.items()},
        [(query, document, 1) for query, document in judged],
        where,
    )


def _gains(
    documents: Mapping[str, str], queries: Mapping[str, str], judgements: list[tuple[str, str, int]], where: str
) -> dict[str, dict[str, int]]:
    """Return the gains of each query's documents, after checking that both exist."""
    for query, document, _ in judgements:
        for name, id, known in (("document", document, documents), ("query", query, queries)):
            if id not in known:
                raise DataError(
                    f"{where} has a judgement of {name} '{id}'{nearest(id, list(known))}, which does not exist: add "
                    f"the {name}, or remove the judgement"
                )
    counted = Counter((query, document) for query, document, _ in judgements)
    if twice := [pair for pair, count in counted.items() if count > 1]:
        raise DataError(f"{where} judges document '{twice[0][1]}' for query '{twice[0][0]}' twice: remove one")
    gains: dict[str, dict[str, int]] = {}
    for query, document, gain in judgements:
        gains.setdefault(query, {})[document] = gain
    return gains
