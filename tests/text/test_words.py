"""Words in many languages."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

from mmcl.data.speech.slurp import normalized_text
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.metrics import word_error_rate
from mmcl.metrics.answers import exact_match
from mmcl.metrics.slu import slu_f1
from mmcl.metrics.zero_shot import prompts
from mmcl.models import FrameTokenizer
from mmcl.models.frame import Frame
from mmcl.predict import written_intents
from mmcl.text.words import composed, folded, spoken_words, tidy, visible, written_words

SENTENCES = {  # without upper case and punctuation
    "Hindi": "कल सुबह छह बजे अलार्म लगाओ",
    "Bengali": "আগামীকাল সকালে ঘুম থেকে তুলো",
    "Tamil": "நாளை காலை என்னை எழுப்பு",
    "Malayalam": "നാളെ രാവിലെ എന്നെ ഉണർത്തുക",
    "Sinhala": "ශ්\u200dරී ලංකාව",
    "Thai": "เปิดไฟ ห้องนั่งเล่น",
    "Khmer": "បើក ភ្លើង",
    "Arabic with vowels": "أَيْقِظْنِي غَدًا",
    "Persian with a non-joiner": "می\u200cخواهم بخوابم",
    "Hebrew with points": "שָׁלוֹם עוֹלָם",
    "Vietnamese": "bật đèn phòng khách",
    "Korean": "내일 아침 깨워 줘",
    "Japanese": "がっこう で べんきょう",
    "Yoruba": "ẹ káàárọ̀",
    "German": "grün und rot",
    "Turkish": "ışığı aç",
}
PAIRS = {  # pairs that differ by a combining mark
    "Hindi": ("दिन", "दान"),
    "Thai": ("เสือ", "เสื้อ"),
    "Arabic": ("كَتَبَ", "كُتِبَ"),
    "Tamil": ("கல", "கலி"),
    "Vietnamese": (unicodedata.normalize("NFD", "má"), unicodedata.normalize("NFD", "mà")),
    "Hebrew": ("שִׁיר", "שָׁר"),
    "Yoruba": ("ọ̀kọ̀", "ọkọ"),
}


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_sentence_is_its_words(language, form):
    words = unicodedata.normalize("NFC", SENTENCES[language]).split()
    text = unicodedata.normalize(form, SENTENCES[language])
    assert spoken_words(folded(text)) == written_words(folded(text)) == words
    assert normalized_text(f"{text}, «{text}»!") == " ".join(words * 2)


@pytest.mark.parametrize("language", SENTENCES)
def test_accents_compare_equal_in_any_composition(language):
    together, apart = (unicodedata.normalize(form, SENTENCES[language]) for form in ("NFC", "NFD"))
    assert composed(apart) == together and tidy(f" {apart}\u00a0") == together
    assert word_error_rate([together], [apart]) == 0 and exact_match([apart], [together]) == [True]
    assert slu_f1([[("place", together)]], [[("place", apart)]]) == 1
    encoder = build_encoder("text", "words", dim=4)
    vectors = encoder([together, apart]).pooled
    assert vectors[0].tolist() == vectors[1].tolist()


@pytest.mark.parametrize("language", PAIRS)
def test_words_that_differ_by_a_mark_are_distinct(language):
    first, second = PAIRS[language]
    assert normalized_text(first) != normalized_text(second)
    assert word_error_rate([normalized_text(first)], [normalized_text(second)]) == 1
    encoder = build_encoder("text", "words", dim=4)
    vectors = encoder([first, second]).pooled
    assert vectors[0].tolist() != vectors[1].tolist()


@pytest.mark.parametrize("language", SENTENCES)
def test_a_tokenizer_keeps_words_whole(language):
    text = SENTENCES[language]
    frame = Frame("a", (), text)
    tokenizer = FrameTokenizer.train([frame], ["a"], vocabulary=200)
    normal = tokenizer.frame(0, (), unicodedata.normalize("NFD", text))
    assert normal.transcript.split() == unicodedata.normalize("NFKC", text).split()
    assert tokenizer.decode(tokenizer.encode(normal)) == normal


def test_case_is_folded():
    assert folded("GROSSE STRASSE") == folded("große Straße")
    assert folded("ΟΔΟΣ") == folded("οδος") == folded("οδοσ")
    assert folded("İSTANBUL") == folded("İstanbul") == folded("istanbul"), "the dot is no mark of its own"
    assert spoken_words(folded("İzmir")) == ["izmir"] and folded("ışık") != folded("işik")


@pytest.mark.parametrize("picture", ["👩‍👩‍👧", "❤️", "🇩🇪", "👍🏽"])
def test_emoji_are_not_words(picture):
    assert spoken_words(folded(f"{picture} yes {picture}no{picture}")) == ["yes", "no"]
    tokenizer = FrameTokenizer.train([Frame("a", (), "yes no")], ["a"])
    assert tokenizer.normalized(f"{picture} yes {picture}no").replace("\ufe0f", "").split()[-2:] == ["yes", "no"]


@pytest.mark.parametrize("unseen", ["\u00ad", "\u200b", "\u200e", "\u2060", "\ufeff"])
def test_invisible_characters_do_not_split_names(unseen):
    assert visible(f"lights{unseen} on{unseen}") == "lights on" and visible(unseen) == ""


def test_english_is_unchanged(data_dir):
    files = [data_dir / "slurp" / name for name in ("devel.jsonl", "test.jsonl")]
    texts = [json.loads(line)["sentence"] for path in files for line in path.read_text().splitlines()]
    texts += (data_dir / "slurp" / "lm.txt").read_text().splitlines()
    assert len(texts) > 30_000
    for text in texts:
        assert spoken_words(folded(text)) == re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())
        assert written_words(folded(text)) == re.findall(r"[\w']+", text.lower())
        assert tidy(text) == " ".join(text.split())


@pytest.mark.parametrize("other", ["cafe\u0301", "café\u200b"])
def test_classes_that_look_the_same_raise(other):
    with pytest.raises(ConfigError, match="expected one class each"):
        prompts(["café", other])
    with pytest.raises(ConfigError, match="is there twice"):
        written_intents(f"café\n{other}")


def test_old_word_encoder_is_recognised(tmp_path):
    from mmcl.encoders.saved import describe_encoder, rebuild_encoder

    described = describe_encoder(build_encoder("text", "words", dim=4))
    described["fingerprint"] = described["fingerprint"].replace("words 2", "words 1")
    assert rebuild_encoder(described, "model.json").dim == 4
