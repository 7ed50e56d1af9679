"""The company's help centre: a folder of Markdown files, cut into sections and searched by words.

Ranking is BM25 (Robertson and Zaragoza, 2009) by bm25s over stemmed words; Markdown is parsed by markdown-it-py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import snowballstemmer
from markdown_it import MarkdownIt

from quorate.errors import ConfigError

# What stands inside a paragraph does not matter here.
_MARKDOWN = MarkdownIt().disable("inline")
ENOUGH = 0.5
"""A section answers a question when it holds at least this share of the weight of the question's words."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of an article.

    Attributes:
        title: the article's title.
        heading: the section's own heading, "" for what stands before the first one.
        text: its Markdown, without the heading.
        file: the file it stands in.
    """

    title: str
    heading: str
    text: str
    file: str

    @property
    def name(self) -> str:
        """Title and heading as a source is quoted."""
        return f"{self.title}: {self.heading}" if self.heading and self.heading != self.title else self.title


@dataclass(frozen=True, slots=True)
class Found:
    """A section that matches a question; `coverage` in [0, 1] is the share of the question's weight it holds."""

    section: Section
    coverage: float


def sections_of(markdown: str, file: str) -> list[Section]:
    """Cut an article at its headings. Headings inside code blocks are text, as Markdown has it."""
    lines = re.split(r"\r\n?|\n", markdown)  # As Markdown has it: no other character ends a line.
    tokens = _MARKDOWN.parse(markdown)
    cuts: list[tuple[int, int, str, str]] = []
    for i, token in enumerate(tokens):
        if token.type == "heading_open" and token.map and token.level == 0:
            cuts.append((token.map[0], token.map[1], token.tag, tokens[i + 1].content))
    title = next((text for _, _, tag, text in cuts if tag == "h1"), Path(file).stem.replace("-", " "))
    sections: list[Section] = []
    starts = [(0, 0, "", ""), *cuts]
    for (_, after, _, heading), following in zip(starts, [*cuts, (len(lines), 0, "", "")], strict=True):
        text = "\n".join(lines[after : following[0]]).strip()
        if text:
            sections.append(Section(title, "" if heading == title else heading, text, file))
    return sections


class Knowledge:
    """The sections of a help centre, and the search over them.

    Args:
        sections: at least one.
        language: a Snowball language ("english", "german", ...) for stemming.
    """

    def __init__(self, sections: Sequence[Section], *, language: str = "english") -> None:
        self.sections = tuple(sections)
        if not self.sections:
            raise ConfigError("knowledge", ["there is no section to answer from"])
        if language not in snowballstemmer.algorithms():
            known = ", ".join(snowballstemmer.algorithms())
            raise ConfigError("knowledge", [f"language: found {language!r}, allowed are {known}"])
        self._stopwords = language if language == "english" else []
        self._stemmer = snowballstemmer.stemmer(language)
        self._words = self._tokens([f"{s.name}\n{s.name}\n{s.text}" for s in self.sections])
        self._index = bm25s.BM25()
        self._index.index(self._words, show_progress=False)
        self._seen: dict[str, int] = {}
        for words in self._words:
            for word in set(words):
                self._seen[word] = self._seen.get(word, 0) + 1

    @classmethod
    def load(cls, folder: Path, *, language: str = "english") -> "Knowledge":
        """Read every `*.md` below a folder, in the order of their names.

        Raises:
            ConfigError: the folder is missing, holds no article, or a file is not UTF-8.
        """
        files = sorted(folder.rglob("*.md")) if folder.is_dir() else []
        if not files:
            raise ConfigError(str(folder), ["no Markdown file (*.md) is here; the help centre needs at least one"])
        problems: list[str] = []
        sections: list[Section] = []
        for file in files:
            try:
                sections += sections_of(file.read_text(encoding="utf-8-sig"), file.relative_to(folder).as_posix())
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{file.name}: cannot be read as UTF-8 text ({error})")
        if problems:
            raise ConfigError(str(folder), problems)
        return cls(sections, language=language)

    def search(self, question: str, *, k: int = 4) -> list[Found]:
        """The sections that match a question best, best first; empty where no word of it is known."""
        [words] = self._tokens([question])
        known = [word for word in words if word in self._seen]
        if not known:
            return []
        ids, scores = self._index.retrieve(
            [known], k=min(k, len(self.sections)), show_progress=False, backend_selection="numpy"
        )
        weights = {word: self._weight(word) for word in words}
        whole = sum(weights.values())
        return [
            Found(self.sections[i], sum(w for word, w in weights.items() if word in self._words[i]) / whole)
            for i, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True)
            if score > 0
        ]

    def _weight(self, word: str) -> float:
        """1 for a word that no other section has, less for common ones; unknown words count as rare."""
        return 1.0 / (1.0 + 0.1 * self._seen.get(word, 0))

    def _tokens(self, texts: list[str]) -> list[list[str]]:
        words: list[list[str]] = bm25s.tokenize(
            texts,
            stopwords=self._stopwords,
            stemmer=self._stemmer.stemWords,
            return_ids=False,
            show_progress=False,
        )
        return words
