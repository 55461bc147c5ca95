from __future__ import annotations

import subprocess
import sys

import pytest

from engine.translation.detection import language_of_script, latin_language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("蓝天", "zh"),
        ("青い空", "ja"),
        ("하늘", "ko"),
        ("небо", "ru"),
        ("ท้องฟ้า", "th"),
        ("café · 42°", None),
        ("", None),
    ],
)
def test_scripts_tell_their_language(text: str, code: str | None):
    assert language_of_script(text) == code


@pytest.mark.parametrize(
    ("phrase", "code"),
    [
        ("ciel bleu", "fr"),
        ("cielo azul", "es"),
        ("cielo azzurro", "it"),
        ("céu azul", "pt"),
        ("blauer Himmel", "de"),
        ("mavi gökyüzü", "tr"),
        ("bầu trời xanh", "vi"),
        ("langit biru", "id"),
        ("bancada de mármore branco, estilo minimalista", "pt"),
    ],
)
def test_two_words_are_enough(phrase: str, code: str):
    assert latin_language(phrase.split(", ")) == code


@pytest.mark.parametrize(
    "phrase",
    [
        "table",
        "lavender",
        "rose",
        "minimalist interior, terrazzo",
        "a Nike sneaker, volumetric light",
        "masterpiece, best quality, 8k, octane render, cinematic",
        "a red chair, a beach at sunset",
        "Swarovski crystals on a café terrace",
        "soft light, Zanotti, marble table",
        "soft light, Villa Rosa, marble table",
        "Playa del Carmen, turquoise water",
        "",
    ],
)
def test_english_is_english(phrase: str):
    assert latin_language(phrase.split(", ")) == "en"


def test_prompts_of_common_english_words_load_no_detector():
    program = (
        "import sys; from engine.translate import *; "
        "translate_prompts(['blue sky, (white clouds:1.2)', 'blurry'], translator_for(None)); "
        "sys.exit(any(name in sys.modules for name in ('py3langid', 'snowballstemmer', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
