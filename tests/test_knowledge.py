"""The help centre: cut at its headings as Markdown has them, searched by words, every bad file named."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import ConfigError
from quorate.knowledge import ENOUGH, Knowledge, Section, sections_of
from quorate.wiring import example_config

LAMPS = Section("Lamps", "", "A reading lamp lights a book.", "lamps.md")


def cut(markdown: str, file: str = "some-article.md") -> list[tuple[str, str, str]]:
    return [(s.title, s.heading, s.text) for s in sections_of(markdown, file)]


# --- sections ------------------------------------------------------------------------------------


def test_an_article_is_cut_at_its_headings() -> None:
    """The first h1 is the title; every heading begins a section, in both ways of writing one."""
    article = "before\n\n# Title #\n\nintro\n\n## One\n\ntext *one*\n\nTwo\n---\n\ntext two\n\n### Deep\ntext three\n"
    assert cut(article) == [
        ("Title", "", "before"),
        ("Title", "", "intro"),
        ("Title", "One", "text *one*"),
        ("Title", "Two", "text two"),
        ("Title", "Deep", "text three"),
    ]


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_heading_in_a_code_block_is_text(fence: str) -> None:
    """A # in a fenced or indented block, in a quote or a list, cuts nothing."""
    block = f"{fence}sh\n# not a heading\n{fence}"
    others = "    # nor this\n\n> # nor this\n\n- # nor this"
    assert cut(f"# T\n\n{block}\n\n{others}\n\n## H\n\nx") == [
        ("T", "", f"{block}\n\n{others}"),
        ("T", "H", "x"),
    ]


def test_an_unclosed_code_block_runs_to_the_end() -> None:
    """As Markdown has it: everything after the fence is its text."""
    assert cut("# T\n\n```\n# x\n\n## y\n") == [("T", "", "```\n# x\n\n## y")]


def test_titles_come_from_the_file_where_there_is_no_h1() -> None:
    """An article without an h1 is named after its file; one without any text has no section."""
    assert cut("## H\n\nx", "folder/gift-cards.md") == [("gift cards", "H", "x")]
    assert cut("just text", "gift-cards.md") == [("gift cards", "", "just text")]
    assert cut("") == cut("# T\n\n## A\n\n## B\n") == []


def test_a_second_h1_is_quoted_by_its_own_name() -> None:
    """A file with several h1 keeps each heading; the title's own section has none."""
    sections = sections_of("# One\n\na\n\n# Two\n\nb\n\n## Three\n\nc", "x.md")
    assert [section.name for section in sections] == ["One", "One: Two", "One: Three"]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_markdowns_own_line_ends_count(odd: str) -> None:
    """A character that other readers take for a line end moves no cut."""
    assert cut(f"# T\n\na{odd}b\n\n## H\n\nc{odd}d") == [("T", "", f"a{odd}b"), ("T", "H", f"c{odd}d")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_markdown_counts(end: str) -> None:
    """Articles from any editor are cut in the same places."""
    assert cut(end.join(["# T", "", "a", "b", "", "## H", "", "c"])) == [("T", "", "a\nb"), ("T", "H", "c")]


lines = st.sampled_from(["# A", "## B", "C", "===", "---", "```", "~~~", "    x", "> # q", "- # l", "", "a b", "\x0c"])


@settings(max_examples=300, deadline=None)
@given(st.lists(lines, max_size=14))
def test_no_line_of_an_article_is_lost(article: list[str]) -> None:
    """Every line is in exactly one section or is (part of) a heading, in its order."""
    text = "\n".join(article)
    sections = sections_of(text, "x.md")
    kept = [line for section in sections for line in section.text.split("\n") if line.strip()]
    rest = iter(line for line in article if line.strip())
    assert all(any(line.strip() == other.strip() for other in rest) for line in kept)
    words = [line for line in article if line in ("a b", "> # q")]
    assert [line for line in kept if line.strip() in ("a b", "> # q")] == words or "===" in article or "---" in article


# --- search --------------------------------------------------------------------------------------


def shelf(*texts: str) -> Knowledge:
    return Knowledge([Section(f"T{i}", "", text, f"{i}.md") for i, text in enumerate(texts)])


def test_the_best_section_comes_first() -> None:
    """Words are stemmed, common words count little, and coverage is the share of the question that is held."""
    knowledge = shelf("refund a parcel within days", "exchange the lamp", "delivery of parcels takes days")
    found = knowledge.search("Refunding parcels?")
    assert [f.section.title for f in found] == ["T0", "T2"]
    assert found[0].coverage == pytest.approx(1.0) and 0 < found[1].coverage < 1
    assert len(knowledge.search("parcel day", k=1)) == 1


def test_unknown_words_are_held_against_a_match() -> None:
    """A question whose words are mostly unknown is not answered by one that happens to match."""
    knowledge = shelf("refund a parcel", "exchange a lamp")
    assert knowledge.search("refund")[0].coverage >= ENOUGH
    assert knowledge.search("refund quantum zebra physics")[0].coverage < ENOUGH
    for question in ("", "   ", "?!", "zebra", "the and of", "\u2028", "日本語", "\ud800"):
        assert knowledge.search(question) == []


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None), max_size=80), st.integers(1, 9))
def test_any_question_has_an_answer_or_none(question: str, k: int) -> None:
    """No text breaks the search; coverage is a share, and no more than `k` sections come."""
    found = shelf("refund a parcel", "exchange a lamp", "0 a1 b").search(question, k=k)
    assert len(found) <= k and all(0 < f.coverage <= 1 for f in found)


def test_a_help_centre_of_stop_words_still_loads() -> None:
    """Sections without a single word of weight are found by nothing, and break nothing."""
    assert shelf("it is").search("is it")[:1] == [] or shelf("it is").search("t0")
    assert Knowledge([Section("?", "", "!!!", "a.md"), LAMPS]).search("lamp")[0].section is LAMPS


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        ("german", "Die Lampen werden geliefert", "Wann wird die Lampe geliefert?"),
        ("french", "Les remboursements arrivent vite", "mon remboursement"),
        ("russian", "возврат товаров и деньги", "возврата товара"),
        ("english", "Returning items", "return an item"),
    ],
)
def test_words_are_stemmed_in_the_configs_language(language: str, text: str, question: str) -> None:
    """A question finds other forms of the same words."""
    knowledge = Knowledge([Section("T", "", text, "a.md"), LAMPS], language=language)
    assert knowledge.search(question)[0].section.text == text


def test_an_unknown_language_names_the_known_ones() -> None:
    """The error lists what is allowed."""
    with pytest.raises(ConfigError, match=r"found 'klingon', allowed are .*english"):
        Knowledge([LAMPS], language="klingon")
    with pytest.raises(ConfigError, match="no section"):
        Knowledge([])


# --- files ---------------------------------------------------------------------------------------


def test_a_folder_is_read_below_and_in_order(tmp_path: Path) -> None:
    """Every *.md at any depth, by name; other files are none; a byte order mark is no text."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.md").write_text("deep", encoding="utf-8")
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# T\r\n\r\nwindows\r\n")
    (tmp_path / "notes.txt").write_bytes(b"\xff")
    knowledge = Knowledge.load(tmp_path)
    assert [(s.title, s.text, s.file) for s in knowledge.sections] == [
        ("T", "windows", "a.md"),
        ("x", "deep", "b/x.md"),
    ]


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    """Files that are not UTF-8 are all reported at once, and a good one beside them does not hide them."""
    (tmp_path / "good.md").write_text("fine", encoding="utf-8")
    (tmp_path / "latin.md").write_bytes("für".encode("latin-1"))
    (tmp_path / "utf16.md").write_bytes("für".encode("utf-16"))
    with pytest.raises(ConfigError) as told:
        Knowledge.load(tmp_path)
    assert [problem.split(":")[0] for problem in told.value.problems] == ["latin.md", "utf16.md"]
    assert all("cannot be read as UTF-8 text" in problem for problem in told.value.problems)


def test_a_folder_without_articles_is_an_error(tmp_path: Path) -> None:
    """Missing, empty, a file, or full of empty articles: the error says what is needed."""
    (tmp_path / "file.md").write_text("x")
    for folder in (tmp_path / "gone", tmp_path / "file.md"):
        with pytest.raises(ConfigError, match="needs at least one"):
            Knowledge.load(folder)
    (tmp_path / "file.md").write_text("\n \n")
    with pytest.raises(ConfigError, match="no section"):
        Knowledge.load(tmp_path)


def test_the_example_help_centre_answers_its_own_titles() -> None:
    """Asked for the title of an article, the search finds that article first for nearly all of them."""
    knowledge = Knowledge.load(example_config().parent / "help")
    titles = {section.title: section.file for section in knowledge.sections}
    assert len(titles) >= 25
    hits = [knowledge.search(title)[0].section.file == file for title, file in titles.items()]
    assert sum(hits) >= 0.9 * len(hits)
