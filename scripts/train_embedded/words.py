"""Captions in varied natural wording.

A scene says what it shows in phrases; `caption` joins them the way people write prompts. Synonyms
are drawn wherever a phrase names a thing, so that "seaside", "beach" and "coast" mean the same to
the model.
"""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.palette import COLORS

# The first word is the usual one and is drawn about half of the time.
SYNONYMS: dict[str, tuple[str, ...]] = {
    name: (name, *others) for name, (_, others) in COLORS.items()
}
SYNONYMS |= {
    "beach": ("beach", "seaside", "coast", "seashore", "sandy beach"),
    "sea": ("sea", "ocean", "open water"),
    "wood": ("wood", "timber", "wooden"),
    "meadow": ("meadow", "grass field", "green field", "pasture"),
    "forest": ("forest", "woods", "woodland"),
    "mountains": ("mountains", "mountain range", "peaks"),
    "desert": ("desert", "sand dunes", "dunes"),
    "snow": ("snow", "snowy field", "winter landscape"),
    "city": ("city", "city skyline", "urban skyline", "downtown"),
    "background": ("background", "backdrop"),
    "studio": ("studio", "photo studio"),
    "silk": ("silk", "satin"),
    "linen": ("linen", "linen cloth", "linen fabric"),
    "water": ("water", "clear water", "rippling water"),
    "podium": ("podium", "pedestal", "plinth", "display stand"),
    "table": ("table", "tabletop", "countertop"),
    "blurred": ("blurred", "out of focus", "defocused"),
    "sunset": ("sunset", "golden hour", "evening sun"),
    "sunrise": ("sunrise", "dawn", "early morning"),
    "day": ("daytime", "daylight", "midday"),
    "dusk": ("dusk", "twilight", "blue hour"),
    "night": ("night", "nighttime", "at night"),
}


def say(rng: np.random.Generator, word: str) -> str:
    """`word` or a synonym of it; words without synonyms are returned as they are."""
    choices = SYNONYMS.get(word, (word,))
    if len(choices) == 1 or rng.random() < 0.5:
        return choices[0]
    return str(rng.choice(choices[1:]))


def a_or_an(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return f"an {phrase}" if phrase[0] in "aeio" else f"a {phrase}"


def either(rng: np.random.Generator, *phrases: str) -> str:
    """One of the phrases."""
    return str(rng.choice(phrases))


def caption(rng: np.random.Generator, phrases: tuple[str, ...], time_of_day: str | None) -> str:
    """One caption of a scene whose first phrase is the main one.

    Args:
        rng: draws wording, order and what is left out.
        phrases: the main phrase, then details; most captions name all of them.
        time_of_day: named as a phrase of its own about as often as not, unless a phrase has it.
    """
    main, details = phrases[0], list(phrases[1:])
    if time_of_day is not None and not any(_tells_time(p, time_of_day) for p in phrases):
        spoken = say(rng, time_of_day)
        if rng.random() < (0.35 if time_of_day == "day" else 0.9):
            details.append(spoken)
    details = [phrase for phrase in details if rng.random() < 0.85]
    rng.shuffle(details)
    style = rng.random()
    if style < 0.55 or not details:
        text = ", ".join((main, *details))
    elif style < 0.8:
        rest = ", ".join(details[1:])
        text = f"{main} with {details[0]}" + (f", {rest}" if rest else "")
    else:
        text = ", ".join((*details, main))
    lead = rng.random()
    if lead < 0.08:
        text = f"a photo of {text}"
    elif lead < 0.14:
        text = f"product photo, {text}"
    elif lead < 0.18:
        text = f"product on {text}" if rng.random() < 0.5 else f"product photography, {text}"
    return text


def _tells_time(phrase: str, time_of_day: str) -> bool:
    return any(word in phrase for word in SYNONYMS[time_of_day])
