"""Fixtures: a small copy of SLURP's training text."""

import json

import pytest


@pytest.fixture(scope="session")
def sentences():
    """Training sentences of three words each."""
    return [f"{verb} the {thing}" for verb in ("open", "close", "dim", "find") for thing in ("door", "light", "song")]


@pytest.fixture(scope="session")
def text_root(sentences, tmp_path_factory):
    """SLURP's training text with one test sentence and repeated lines, and a question."""
    root = tmp_path_factory.mktemp("texts")
    (root / "slurp").mkdir()
    (root / "slurp" / "lm.txt").write_text("\n".join([*sentences, "play music", "news", *sentences[:5]]) + "\n")
    row = {"slurp_id": 1, "sentence": "play music", "scenario": "play", "action": "music", "entities": []}
    row |= {"tokens": [{"surface": "play", "id": 0}, {"surface": "music", "id": 1}], "recordings": []}
    for name in ("devel", "test"):
        (root / "slurp" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (root / "rationales" / "cqa").mkdir(parents=True)
    question = {"question": '"What"  makes tea?', "choices": ["kettle", "news", "42", "a cat"]}
    (root / "rationales" / "cqa" / "cqa_train.json").write_text(json.dumps(question) + "\n")
    return root
