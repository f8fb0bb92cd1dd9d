"""Random splits of user data: disjoint in speakers if they are known, else stratified by class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from mmcl.errors import DataError

SHARES = {"valid": 0.1, "test": 0.2}  #: share of the samples in each split that is made; ``train`` gets the rest


def by_class(labels: Sequence[str], units: Sequence[str], missing: Iterable[str], seed: int) -> list[str]:
    """Draw the split of each sample so that every split has its share of every class.

    A class of two or more units has at least one in ``train``, and then one in ``test`` before ``valid``. The order of
    the samples does not matter.

    Args:
        labels: class of each sample.
        units: samples with the same unit, such as the same file, stay in one split.
        missing: splits to make, some of :data:`SHARES`.
        seed: seed of the draw.

    >>> by_class(list("aaaaabbbbb"), list("0123456789"), ["test"], seed=0)
    ['train', 'train', 'train', 'train', 'test', 'test', 'train', 'train', 'train', 'train']
    """
    split_of: dict[str, str] = {}
    units_of: dict[str, set[str]] = defaultdict(set)
    for unit, label in zip(units, labels, strict=True):
        units_of[label].add(unit)
    for _, own in sorted(units_of.items()):
        own = own - split_of.keys()
        waiting = sorted(own, key=lambda unit: _rank(unit, seed))
        counts = {split: max(1, round(SHARES[split] * len(own))) for split in missing}
        for split in sorted(counts):  # test first, because a class without test samples cannot be scored
            for unit in waiting[1:][: counts[split]]:
                split_of[unit] = split
            waiting = waiting[:1] + waiting[1 + counts[split] :]
    return [split_of.get(unit, "train") for unit in units]


def by_speaker(labels: Sequence[str], speakers: Sequence[str], missing: Sequence[str], seed: int) -> list[str]:
    """Draw the split of each speaker, so that no speaker is in two splits.

    Of a hundred draws, the one is taken in which the fewest classes lack samples in a split, and then the one whose
    splits are nearest to their shares.

    Raises:
        DataError: there are fewer speakers than splits.
    """
    names = sorted(set(speakers))
    if len(names) <= len(missing):
        raise DataError(
            f"there are {len(names)} speakers, expected at least {len(missing) + 1}, one for train and for each of "
            f"{', '.join(missing)}: add a column split, or set by_speaker=false to share speakers"
        )
    sizes, classes = Counter(speakers), defaultdict(set)
    for name, label in zip(speakers, labels, strict=True):
        classes[name].add(label)
    draws = [_drawn(sizes, missing, f"{seed} {draw}") for draw in range(100)]
    best = min(draws, key=lambda split_of: _fault(split_of, sizes, classes, missing))
    return [best[name] for name in speakers]


def _drawn(sizes: Mapping[str, int], missing: Sequence[str], seed: str) -> dict[str, str]:
    """Assign speakers in random order: first one to each split that is made, then to those below their share."""
    waiting = sorted(sizes, key=lambda name: _rank(name, seed))
    total, split_of = sum(sizes.values()), dict.fromkeys(sizes, "train")
    for place, split in enumerate(missing):
        left = len(missing) - place  # speakers that the later splits and train need
        held = 0
        while len(waiting) >= left + 1 and (not held or held + sizes[waiting[0]] / 2 <= SHARES[split] * total):
            split_of[waiting[0]] = split
            held += sizes[waiting.pop(0)]
    return split_of


def _fault(
    split_of: Mapping[str, str],
    sizes: Mapping[str, int],
    classes: Mapping[str, set[str]],
    missing: Sequence[str],
) -> tuple[int, float]:
    """Return the number of classes that lack samples in a split, and the distance of the sizes from their shares."""
    every, lacking, distance = set().union(*classes.values()), 0, 0.0
    for split in ("train", *missing):
        own = [name for name, each in split_of.items() if each == split]
        lacking += len(every - set().union(*(classes[name] for name in own)))
        share = SHARES[split] if split != "train" else 1 - sum(SHARES[each] for each in missing)
        distance += abs(sum(sizes[name] for name in own) / sum(sizes.values()) - share)
    return lacking, distance


def _rank(name: str, seed: object) -> bytes:
    return blake2b(f"{seed} {name}".encode(errors="surrogatepass"), digest_size=8).digest()
