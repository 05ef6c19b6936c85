"""Which sequence a series is of, by phrases in its name. No regular expression from a bundle is ever run.

A phrase has words in the order in which they occur in the name: `dwi` is a whole word, `t1*` the start of a word,
`*t1c` its end, `*flair*` any part of it. A word after `-` must not occur anywhere. Case does not matter; words are runs
of letters and digits, and `+` is a word of its own. So "*t1* ce" matches "AX T1 CE", and "*flair* -t1*" matches
"t2_flair_tra" but not "T1 FLAIR".
"""

import re
from collections.abc import Sequence

MAX_PHRASES = 100
MAX_PHRASE = 80  # characters
MAX_NAME = 256  # characters that are compared; DICOM allows 64

_WORD = re.compile(r"[^\W_]+|\+")
_PHRASE_WORD = re.compile(r"-?(?:\*?[a-z0-9]+\*?|\+)")
_PLAIN = re.compile(r"(\\b)?([a-z0-9]+)(?:\[([a-z0-9]+)]|\.\?([a-z0-9]+))?(\\b)?")
# Regular expressions of older cards that are more than plain words.
_OLD_PATTERNS = {
    r"^(?!.*\bt1.{0,4}flair).*(flair|tirm|dark.?fluid)": ("*flair* -t1*", "*tirm*", "*dark* *fluid*"),
    r"t1.{0,16}((?<![a-z])ce?(?![a-z])|gd|gad|(?<![a-z])km|post|contrast|\+)|(gd|gad|post|contrast).{0,16}t1": (
        *("*t1c", "*t1ce", "*t1* c", "*t1* ce", "*t1* *gd*", "*t1* *gad*", "*t1* km*", "*t1* *post*"),
        *("*t1* *contrast*", "*t1* +", "*gd* *t1*", "*gad* *t1*", "*post* *t1*", "*contrast* *t1*"),
    ),
}

_FLAIR, _CONTRAST = _OLD_PATTERNS.values()
# The sequences that channels are named after, and the names of series of each; the first that matches counts.
_SEQUENCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("T1", ("*t1* non*", "*t1* pre*", "*t1* without*", "*t1* native*")),
    ("T1c", _CONTRAST),
    ("FLAIR", _FLAIR),
    ("SWI", ("*swi*", "*t2* star*")),
    ("T2", ("*t2*",)),
    ("T1", ("*t1*",)),
    ("ADC", ("*adc*",)),
    ("DWI", ("*dwi*", "*diff*", "*trace*")),
    ("PET", ("pet*", "suv*")),
    ("CT", ("ct*",)),
)


def sequence_of(name: str) -> str:
    """The sequence that the name of a series or of a channel tells; empty where it tells none."""
    return next((sequence for sequence, phrases in _SEQUENCES if matches(phrases, name)), "")


def is_channel(channel: str, name: str) -> bool:
    """True where a series of this name is one of the channel: of the channel's sequence; of a channel that is named
    after none, one whose name has all its words."""
    wanted = sequence_of(channel)
    return sequence_of(name) == wanted if wanted else has_words(channel, name)


def has_words(channel: str, name: str) -> bool:
    """True where the name of a series has all words of the channel's name."""
    words, there = (_WORD.findall(text[:MAX_NAME].lower()) for text in (channel, name))
    return bool(words) and set(words) <= set(there)


def matches(phrases: Sequence[str], name: str) -> bool:
    """True where the name of a series contains one of the phrases."""
    words = _WORD.findall(name[:MAX_NAME].lower())
    return any(_contains(phrase.split(), words) for phrase in phrases)


def _contains(phrase: list[str], words: list[str]) -> bool:
    start = 0
    for wanted in phrase:
        if wanted.startswith("-"):
            if any(_matches_word(wanted[1:], word) for word in words):
                return False
            continue
        place = next((i for i in range(start, len(words)) if _matches_word(wanted, words[i])), None)
        if place is None:
            return False
        start = place  # one word may be two of the phrase: "darkfluid" is "*dark* *fluid*"
    return True


def _matches_word(wanted: str, word: str) -> bool:
    core = wanted.strip("*")
    if wanted.startswith("*") and wanted.endswith("*"):
        return core in word
    if wanted.startswith("*"):
        return word.endswith(core)
    return word.startswith(core) if wanted.endswith("*") else word == core


def is_phrase(text: str) -> bool:
    """True where the text is a phrase: words of which one at least must occur."""
    words = text.split(" ")
    return (
        len(text) <= MAX_PHRASE
        and all(_PHRASE_WORD.fullmatch(word) for word in words)
        and any(not word.startswith("-") for word in words)
    )


def phrases_of_pattern(pattern: str) -> tuple[str, ...] | None:
    r"""The phrases that mean what an older card's regular expression meant; None where it is more than alternatives of
    plain words such as `\bt[12]|dark.?fluid|\bdwi\b`."""
    if pattern in _OLD_PATTERNS:
        return _OLD_PATTERNS[pattern]
    if not pattern:
        return ()
    phrases: list[str] = []
    for alternative in pattern.lower().split("|")[: MAX_PHRASES + 1]:
        plain = _PLAIN.fullmatch(alternative)
        if plain is None:
            return None
        start, end = ("" if plain[1] else "*"), ("" if plain[5] else "*")
        if plain[4]:
            phrases.append(f"{start}{plain[2]}* *{plain[4]}{end}")
        else:
            phrases += [f"{start}{plain[2]}{last}{end}" for last in plain[3] or [""]]
    return tuple(phrases)
