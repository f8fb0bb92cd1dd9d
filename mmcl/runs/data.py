"""Fingerprints of the data sets of a run, to detect changed data on resume."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from mmcl.data.fingerprint import sample_digests, sample_names
from mmcl.errors import RunError
from mmcl.files.sealed_json import read_sealed, write_sealed

_SIZE = 8  # bytes of a digest


class RunData:
    """The file ``data.json`` in a run's folder, with digests of the samples of each data set, in order.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "data.json"
        self._checked: dict[str, str] = {}  # data sets that this process has compared

    def note(self, name: str, dataset: object) -> None:
        """Record the fingerprint of a data set, or compare it with the recorded one.

        Raises:
            RunError: The data set has changed, or the file cannot be read or written.
        """
        now = Fingerprint.of(dataset)
        if self._checked.get(name) == now.samples:
            return
        known = self.read()
        if name in known:
            before = Fingerprint(*known[name])
            if before != now:
                raise RunError(
                    f"the data of {self.folder} changed since the run began: {name} has "
                    f"{_difference(before, now, dataset)}; restore the data, or start a new run: mmcl run TASK "
                    f"--config {self.folder / 'config.yaml'}"
                )
        else:
            write_sealed(self.path, {**known, name: list(now)})
        self._checked[name] = now.samples

    def check_exists(self) -> None:
        """Check that the file exists and can be read.

        Raises:
            RunError: The file is missing or damaged.
        """
        if not self.path.exists():
            raise RunError(
                f"{self.path} is missing, which a resumed run needs to check its data: restore the file from a copy, "
                "or start a new run"
            )
        self.read()

    def read(self) -> dict[str, list[str]]:
        """Return the digests of names and contents of each data set's samples; empty without a file.

        Raises:
            RunError: The file is damaged.
        """
        known = read_sealed(self.path) if self.path.exists() else {}
        for name, value in known.items():
            if not (isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)):
                raise RunError(f"{self.path} has an invalid fingerprint of {name}: restore the file from a copy")
        return known


class Fingerprint(NamedTuple):
    """Concatenated digests of the names and of the contents of samples, in Base64."""

    names: str
    samples: str

    @classmethod
    def of(cls, dataset: object) -> Fingerprint:
        """Compute the fingerprint of a data set."""
        samples, named = sample_digests(dataset), sample_names(dataset)
        names = samples  # without names, a changed sample counts as one removed and one added
        if named is not None:
            names = [blake2b(name.encode(errors="surrogatepass"), digest_size=_SIZE).digest() for name in named]
        return cls(*(b64encode(b"".join(each)).decode() for each in (names, samples)))

    def by_name(self) -> list[tuple[bytes, bytes]]:
        """Return the digests of name and content of each sample."""
        names, samples = (_digests(each) for each in self)
        return list(zip(names, samples, strict=True))


def _digests(encoded: str) -> list[bytes]:
    whole = b64decode(encoded)
    return [whole[start : start + _SIZE] for start in range(0, len(whole), _SIZE)]


def _difference(before: Fingerprint, now: Fingerprint, dataset: object) -> str:
    """Describe the added, removed and changed samples."""
    old, new = before.by_name(), now.by_name()
    added = Counter(name for name, _ in new) - Counter(name for name, _ in old)
    removed = Counter(name for name, _ in old) - Counter(name for name, _ in new)
    same, names = set(old), sample_names(dataset) or [f"sample {row}" for row in range(len(new))]
    changed = [row for row, each in enumerate(new) if each not in same and each[0] not in added]
    if not (added or removed or changed):
        return f"the same {len(new)} samples in another order"
    first = next((row for row, (name, _) in enumerate(new) if name in added), next(iter(changed), None))
    example = "" if first is None else f", such as {names[first]}"
    return (
        f"{len(new)} samples in place of {len(old)}, {added.total()} added, {removed.total()} removed and "
        f"{len(changed)} changed{example}"
    )
