"""Scope in a language that the word vectors do not know: only what the company's own texts say counts.

No list of stop words is needed: short words say little in most languages, and a word counts as known where it, its
beginning or most of its character trigrams stand in the help centre (compounds and inflected forms share those).
"""

from collections.abc import Sequence

from quorate.models.local import features
from quorate.models.local.vectors import Vectors

_LEAST = 0.6
"""Below this share of words that the vectors know, a company's texts are in another language."""
_SHORT, _STEM = 3, 5
_MOST = 600
_STEEP, _MIDDLE = 8.0, 0.4
_SURE = 6
"""With fewer telling words than this, nothing is so foreign that it is sure."""
_DOUBT = 2.4
_GREETINGS = frozenset(
    features.words(
        "hallo hi hey moin servus gruezi danke dank bitte gern tschuss guten tag morgen abend hola gracias buenos"
        " dias buenas tardes noches adios por favor bonjour bonsoir salut merci beaucoup au revoir ciao buongiorno"
        " grazie mille prego arrivederci ola obrigado obrigada bom dia boa tarde hej tack tak takk moi kiitos czesc"
        " dzien dobry dziekuje dekuji ahoj merhaba tesekkurler privet spasibo привет спасибо здравствуите"
        " 你好 谢谢 こんにちは ありがとう 안녕하세요 감사합니다 مرحبا شكرا ok okay vielen dank muchas super"
    )
)


class Foreign:
    """The words of a help centre in any language.

    Args:
        texts: the help centre, the description, the questions.
        vectors: tell which words are English.
    """

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        words = list(dict.fromkeys(word for text in texts for word in _telling(text)))
        known = int(vectors.known(words).sum())
        self.spoken = bool(words) and known < _LEAST * len(words)
        self._stems = {word[:_STEM] for word in words} if self.spoken else set()
        self._trigrams = {gram for word in words for gram in _trigrams(word)} if self.spoken else set()

    def margin(self, text: str) -> float:
        """How foreign a text is to the company, in log-odds; more than a doubt only where many words say so."""
        words = _telling(text)[:_MOST]
        if not words or all(word in _GREETINGS for word in features.words(features.normalise(text))):
            return -_DOUBT
        weight = sum(len(word) for word in words)
        share = sum(len(word) * self._known(word) for word in words) / weight
        margin = _STEEP * (_MIDDLE - share)
        return margin if len(words) >= _SURE else min(margin, _DOUBT)

    def _known(self, word: str) -> float:
        if word[:_STEM] in self._stems:
            return 1.0
        grams = _trigrams(word)
        found = sum(gram in self._trigrams for gram in grams) / max(len(grams), 1)
        # Any text of a language shares some trigrams with any other.
        return max(0.0, 2.0 * found - 1.2)


def _telling(text: str) -> list[str]:
    """The words that say something: longer ones, and runs of scripts without spaces cut into pieces."""
    found: list[str] = []
    for word in features.words(features.normalise(text)):
        if word[0] >= "぀":
            found += [word[at : at + 2] for at in range(0, min(len(word), 400), 2)]
        elif len(word) > _SHORT:
            found.append(word[:40])
    return found


def _trigrams(word: str) -> list[str]:
    return [word[at : at + 3] for at in range(max(len(word) - 2, 1))]
