"""Personal data never reaches the store: found however it is written, in linear time, and nothing raises."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.store.redact import bounded, redact, redact_all, redact_words

DASHES = ("", " ", "-", "\u00a0", "\u2009", "\u2013", " - ", "\u200b", ".")
SCRIPTS = (0x30, 0xFF10, 0x660, 0x966, 0x1D7CE)
"""The zeros of ASCII, full width, Arabic-Indic, Devanagari and mathematical bold digits."""


@st.composite
def cards(draw: st.DrawFn) -> tuple[str, str]:
    """A card number: its digits, and a way to write it."""
    digits = draw(st.sampled_from("23456")) + draw(st.text("0123456789", min_size=11, max_size=17))
    total = sum(int(d) if at % 2 else sum(divmod(2 * int(d), 10)) for at, d in enumerate(reversed(digits)))
    digits += str(-total % 10)
    zero, between = draw(st.sampled_from(SCRIPTS)), draw(st.sampled_from(DASHES))
    pieces = [digits[at : at + 4] for at in range(0, len(digits), 4)]
    return digits, between.join("".join(chr(zero + int(d)) for d in piece) for piece in pieces)


@settings(max_examples=300, deadline=None)
@given(
    card=cards(),
    before=st.sampled_from(("", "my card: ", "(", "no.", "卡号")),
    after=st.sampled_from(("", ", thanks", " 12/26 123", "x")),
)
def test_a_card_number_is_found_however_it_is_written(card: tuple[str, str], before: str, after: str) -> None:
    """Spaces, dashes, invisible characters and digits of other scripts hide no card number."""
    found = redact(before + card[1] + after)
    assert card[1] not in found
    assert "[card]" in found
    left = "".join(str(int(char)) for char in found if char.isdecimal())
    assert card[0][:6] not in left and card[0][-6:] not in left


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.one_of(st.characters(), st.sampled_from("0123456789 -+()./@\ud800\0DEGB%")), max_size=300))
def test_any_text_can_be_redacted(text: str) -> None:
    """It never raises, leaves no run of 8 digits, and changes nothing when it is done again."""
    once = redact(text)
    run = 0
    for char in once:
        run = run + 1 if char.isdecimal() else 0
        assert run < 8
    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to bob.o'neil+x@mail.example.co.uk.", "write to [e-mail]."),
        ("user%40example.com or foo＠bar.jp", "[e-mail] or [e-mail]"),
        ("bob@intranet", "[e-mail]"),
        ("müller@bücher.example", "[e-mail]"),
        ("DE89 3704 0044 0532 0130 00 thanks", "[iban] thanks"),
        ("gb29nwbk60161331926819.", "[iban]."),
        ("NO93 8601 1117 947 and FR1420041010050500013M02606", "[iban] and [iban]"),
        ("DE89 3704 0044 0501", "DE[number]"),
        ("call +49 151 23456789 or (555) 123-4567", "call [phone] or [phone]"),
        ("01 23 45 67 89, 555-1234, 0049 89 123456", "[phone], [phone], [phone]"),
        ("+1-212-555-0123", "[phone]"),
        ("account 123456789, insurance 123-45-6789", "account [number], insurance [number]"),
        ("from 192.168.100.200", "from [number]"),
        ("1" * 50, "[number]"),
    ],
)
def test_each_rule_finds_its_kind(text: str, found: str) -> None:
    """E-mail, IBAN by checksum, phone numbers and long numbers become their tags, and what stands around stays."""
    assert redact(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-05-06 12:30:11, from 06.05.2024 to 2024/05/09",
        "2024-05-06 - 2024-05-09",
        "order 1234567 costs 1,234,567.00 or 1.234.567 EUR",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "10-20 items, 3 of 4, room 4711",
        "model gpt-4o-2024-08-06",
        "an @mention, 5 @ 3 each",
        "",
    ],
)
def test_everyday_numbers_stay(text: str) -> None:
    """Dates, times, prices, short order numbers and counts are kept: records must stay readable."""
    assert redact(text) == text


def test_values_keep_their_shape() -> None:
    """Every string in a message is redacted, names of fields too, and packed data goes as a whole."""
    value: Any = {
        "role": "user",
        "content": [{"type": "text", "text": "a@b.com"}, {"image_url": {"url": "data:image/png;base64,AAAA"}}],
        "input_audio": {"data": "QUJD" * 400},
        "tool_calls": [{"function": {"arguments": '{"to": "x@y.org"}'}}],
        "4111111111111111": 5,
        "n": 1.5,
        "none": None,
    }
    assert redact_all(value) == {
        "role": "user",
        "content": [{"type": "text", "text": "[e-mail]"}, {"image_url": {"url": "[data]"}}],
        "input_audio": {"data": "[data]"},
        "tool_calls": [{"function": {"arguments": '{"to": "[e-mail]"}'}}],
        "[card]": 5,
        "n": 1.5,
        "none": None,
    }


@pytest.mark.parametrize("copy", [redact_all, bounded])
def test_deep_nesting_ends(copy: Any) -> None:
    """A value nested a hundred thousand levels deep is cut at 32, and can be written as JSON."""
    value: Any = "x"
    for _ in range(100_000):
        value = [value]
    assert json.dumps(copy([value])).count("[") == 33


def test_of_verdicts_only_free_texts_change() -> None:
    """Reasons quote the customer and are redacted; ids, versions and hashes stay, nested ones too."""
    verdict = {"check": "c-123456789", "reason": "quotes a@b.com", "version": "20240506123", "score": 0.123456789}
    span = {"branch": "x", "why": "failed on 4111111111111111", "children": [{"why": "a@b.com", "id": "123456789"}]}
    assert redact_words([verdict, span]) == [
        verdict | {"reason": "quotes [e-mail]"},
        {"branch": "x", "why": "failed on [card]", "children": [{"why": "[e-mail]", "id": "123456789"}]},
    ]


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "@", "a@", "1 ", "12 ", "(", "+1", "AA11", "AA11 ", "DE89370400440532013001 ", "2024-05-06 ", "-a",
     "1(((", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 x", "a%40", "１"],
)  # fmt: skip
def test_time_grows_with_the_length_only(piece: str) -> None:
    """For hostile texts of all kinds eight times the length takes far less than 64 times the time: no square."""
    text = piece * (40_000 // len(piece))

    def took(text: str) -> float:
        began = time.thread_time()
        redact(text)
        return time.thread_time() - began

    short, long = min(took(text) for _ in range(3)), min(took(8 * text) for _ in range(2))
    assert long < 24 * short + 0.02
