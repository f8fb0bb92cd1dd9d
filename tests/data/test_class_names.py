"""Merging of class names that look the same."""

from __future__ import annotations

import json
import unicodedata

import pytest

from mmcl.data import LabelledTable, N24News, SlurpText
from mmcl.data.class_names import merged_names


@pytest.mark.parametrize("other", ["café ", " café", "cafe\u0301", "café\u200b", "café\u00a0", "caf\u00ade\u0301"])
def test_names_that_look_the_same_are_merged_with_a_warning(caplog, other):
    assert merged_names(["café", other, "tea"], "a.csv") == {"café": "café", other: "café", "tea": "tea"}
    assert "merged 2 class names in a.csv that look the same, first 'caf\\xe9' and " in caplog.text


def test_names_that_differ_in_case_stay_distinct_with_a_warning(caplog):
    assert merged_names(["Yes", "yes", "STRASSE", "Straße", "no"], "a.csv")["Yes"] == "Yes"
    assert "4 class names in a.csv differ in case only, first 'Yes' and 'yes'" in caplog.text


def test_distinct_names_are_unchanged(caplog):
    names = ["दिन", "दान", "on", "off", "living room", "living_room"]
    assert merged_names(names, "a.csv") == {name: name for name in names} and not caplog.records


def test_labelled_table_merges_names(tmp_path, caplog):
    apart = unicodedata.normalize("NFD", "café")
    (tmp_path / "train.csv").write_text(f"x,label\n1,café\n2,{apart}\n3,tea \n4,tea\n")
    table = LabelledTable(tmp_path)
    assert table.classes == ("café", "tea") and table.labels == [0, 0, 1, 1] and table.texts[1] == "café"
    assert "merged 4 class names" in caplog.text


def test_scenarios_of_slurp_are_merged(tmp_path, caplog):
    for number, name in enumerate(("train", "devel", "test")):
        scenario = ("café", unicodedata.normalize("NFD", "café"), "café ")[number]
        row = {"slurp_id": number, "sentence": "yes", "scenario": scenario, "action": "set"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**row, "tokens": [], "entities": [], "recordings": []}))
    assert SlurpText(tmp_path, "test").exercises[0].choices == ("café set",)
    assert "merged 3 class names" in caplog.text


def test_sections_of_n24news_are_merged(tmp_path, caplog):
    (tmp_path / "news").mkdir()
    (tmp_path / "imgs").mkdir()
    rows = [{"image_id": f"i{n}", "section": ("Art", "Art ")[n], "headline": "x"} for n in range(2)]
    for row in rows:
        (tmp_path / "imgs" / f"{row['image_id']}.jpg").touch()
    (tmp_path / "news" / "nytimes_train.json").write_text(json.dumps(rows))
    assert N24News(tmp_path).classes == ("Art",) and "merged 2 class names" in caplog.text
