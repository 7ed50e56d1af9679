"""Conversations: nothing reaches the answerer unread, refused turns are known, nothing is guessed."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.checks import Conversation, Part, Said, Subject, output_subject, scope_subject, threat_subject
from quorate.checks.conversation import Origin, standing
from quorate.errors import UsageError
from quorate.models import Message, ToolCall

REFUSED = "Sorry, I can't help with that."
SAID = frozenset((REFUSED, "Too long."))


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def bot(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def image(text: str) -> dict[str, Any]:
    return user([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}])


def leaves(value: Any) -> Iterator[str]:
    """Every text in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(key)
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


# --- law 8 ---------------------------------------------------------------------------------------

words = st.text(max_size=12) | st.sampled_from([REFUSED, f"  {REFUSED}\n", "a\nb", "\ud800"])
pieces = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, words),
    st.builds(lambda text: {"type": "input_text", "text": text}, words),
    st.builds(lambda text: {"type": "image_url", "image_url": {"url": text}, "alt": text}, words),
    st.builds(lambda text: {"type": "input_audio", "input_audio": text}, words),
)
contents = words | st.none() | st.lists(pieces, max_size=3)
calls = st.builds(
    lambda name, arguments, call_id, other: {
        "id": call_id,
        "type": other,
        "index": 0,
        other: other,
        "function": {"name": name, "arguments": arguments, "note": other},
    },
    words,
    words,
    words,
    words,
)
messages = st.builds(
    lambda role, content, tools, call_id, other: {
        "role": role,
        "content": content,
        "name": other,
        "refusal": other,
        **({"tool_calls": tools} if tools else {}),
        **({"tool_call_id": call_id} if call_id else {}),
    },
    st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    contents,
    st.lists(calls, max_size=2),
    words,
    words,
)
conversations = st.lists(messages, max_size=6).map(lambda drawn: [*drawn, user("Where is my order?")])
ORIGINS: list[Origin] = ["system", "customer", "assistant", "tool", "retrieved"]
STRUCTURE = {"id", "type", "function", "name", "arguments"}


@settings(max_examples=500, deadline=None)
@given(conversations, st.sets(st.sampled_from(ORIGINS)))
def test_nothing_reaches_the_answerer_that_no_check_has_read(source: list[Any], trusted: set[Origin]) -> None:
    """Law 8: every text in a message that the answerer gets is read by threat, or of an origin the config trusts."""
    conversation = Conversation.of(source).without_replays(SAID)
    read = threat_subject(conversation, trusted)
    texts = [part.text for part in read.parts]
    for part in conversation.parts:
        if part.message is None or part.refused or part.origin in trusted:
            continue
        sent = [part.message.content, part.message.tool_call_id or "", *leaves(part.message.tool_calls)]
        for text in sent:
            assert text in STRUCTURE or text in part.text
        assert part.text in texts
    assert {part.origin for part in read.parts}.isdisjoint(trusted)
    for message in conversation.messages:
        assert message.role in ("system", "developer", "user", "assistant", "tool")
    unread = {p.unread for p in conversation.parts if p.unread and not p.refused and p.origin not in trusted}
    assert unread == set(read.unread) or not any(not part.refused for part in read.parts)


@settings(max_examples=300, deadline=None)
@given(conversations)
def test_what_the_answerer_gets_is_the_conversation_without_refused_turns(source: list[Any]) -> None:
    """Messages reach the answerer in their order, each once, but for refusals and what was refused."""
    conversation = Conversation.of(source).without_replays(SAID)
    assert [p.message for p in conversation.parts if p.message and not p.refused] == list(conversation.messages)
    for before, after in zip(conversation.messages, conversation.messages[1:], strict=False):
        replayed = after.role == "assistant" and after.content.strip() in SAID and not after.tool_calls
        assert not (replayed and not after.tool_call_id and before.role == "user")
    assert conversation.messages[-1] == Message("user", "Where is my order?")


# --- reading messages ----------------------------------------------------------------------------


def test_roles_become_origins() -> None:
    """Each role has its origin; a developer's message counts as the system's, a function's as a tool's."""
    roles = ["system", "developer", "user", "assistant", "tool", "function"]
    conversation = Conversation.of([{"role": role, "content": role} for role in roles])
    assert [part.origin for part in conversation.parts] == [
        "system",
        "system",
        "customer",
        "assistant",
        "tool",
        "tool",
    ]
    assert [message.role for message in conversation.messages] == [*roles[:5], "tool"]
    assert conversation.size == sum(map(len, roles))


def test_a_text_is_a_conversation() -> None:
    """A text is one customer's turn, and a conversation is taken as it is."""
    conversation = Conversation.of("Hi")
    assert conversation.messages == (Message("user", "Hi"),)
    assert (conversation.question, Conversation.of(conversation)) == ("Hi", conversation)


def test_lone_surrogates_are_replaced_for_checks_and_answerer_alike() -> None:
    """What no wire can carry becomes U+FFFD once, before anybody reads it; whole characters stay."""
    call = {"id": "c\ud800", "function": {"name": "n\udc00", "arguments": "\ud83d\ude00"}}
    for source in ("a\ud800b", [user("a\ud800b")], [user([{"type": "text", "text": "a\ud800b"}])]):
        [part] = Conversation.of(source).parts
        assert (part.text, part.message and part.message.content) == ("a\ufffdb", "a\ufffdb")
    part = Conversation.of([{**bot(None), "tool_calls": [call]}, user("x")]).parts[0]
    assert part.text.split("\n") == ["", "n\ufffd", "\U0001f600", "c\ufffd"]
    assert part.message is not None and "\ud800" not in "".join(leaves(part.message.tool_calls))


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ([], "non-empty list"),
        (None, "non-empty list"),
        (7, "non-empty list"),
        ({"role": "user"}, "non-empty list"),
        (["hi"], r"messages\[0\]: a message is an object"),
        ([bot("hi")], "at least one message with role 'user'"),
        ([user("a"), {"content": "b"}], r"messages\[1\]\.role: found None, allowed are system, "),
        ([{"role": "root", "content": "b"}], r"messages\[0\]\.role: found 'root'"),
        ([{"role": ["user"], "content": "b"}], r"messages\[0\]\.role"),
        ([user(5)], r"messages\[0\]\.content: found int"),
        ([user({"type": "text"})], r"messages\[0\]\.content: found dict"),
        ([user(["text"])], r"messages\[0\]\.content\[0\]"),
        ([user([{"text": "no type"}])], r"messages\[0\]\.content\[0\]"),
        ([user([{"type": 5}])], r"messages\[0\]\.content\[0\]"),
        ([{**bot("x"), "tool_calls": "x"}, user("a")], r"messages\[0\]\.tool_calls"),
        ([{**bot("x"), "tool_calls": {"a": 1}}, user("a")], r"messages\[0\]\.tool_calls"),
        ([{**bot("x"), "tool_calls": ["x"]}, user("a")], r"messages\[0\]\.tool_calls\[0\]"),
        ([{**bot("x"), "tool_calls": [{"custom": {}}]}, user("a")], r"tool_calls\[0\]: .* with a function"),
        ([{**bot("x"), "tool_calls": [{"function": {"name": 1}}]}, user("a")], r"function\.name: found int"),
        (
            [{**bot("x"), "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, user("a")],
            r"function\.arguments: found dict",
        ),
        (
            [{**bot("x"), "tool_calls": [{"id": 7, "function": {"name": "f"}}]}, user("a")],
            r"tool_calls\[0\]\.id: found int",
        ),
        ([{"role": "tool", "content": "x", "tool_call_id": {"a": "b"}}, user("a")], r"tool_call_id: found dict"),
    ],
)
def test_what_is_of_no_known_form_is_an_error(source: Any, where: str) -> None:
    """Nothing is guessed: the error names the place, what was found and what is allowed."""
    with pytest.raises(UsageError, match=where):
        Conversation.of(source)


def test_content_that_nobody_can_read_is_named() -> None:
    """Images, audio and files are parts of their own kind; the text beside them is still the customer's last text."""
    kinds = ["image_url", "input_audio", "file", "text_but_not_really"]
    pieces = [{"type": "text", "text": "Look:"}, *({"type": kind} for kind in kinds), {"type": "text", "text": "ok?"}]
    conversation = Conversation.of([user(pieces)])
    assert conversation.question == "Look:\nok?"
    assert threat_subject(conversation).unread == tuple(kinds)
    assert scope_subject(conversation).text == "Look:\nok?"
    assert conversation.messages == (Message("user", "Look:\nok?"),)
    assert threat_subject(Conversation.of([user([{"type": "text"}])])).unread == ("text",)


def test_unread_content_of_a_trusted_origin_is_trusted() -> None:
    """What the config trusts is not held against a message."""
    source = [{"role": "system", "content": [{"type": "file"}]}, user("hi")]
    assert threat_subject(Conversation.of(source)).unread == ("file",)
    assert threat_subject(Conversation.of(source), {"system"}).unread == ()


# --- refused turns -------------------------------------------------------------------------------


def marks(conversation: Conversation) -> list[tuple[str, bool]]:
    return [(part.text, part.refused) for part in conversation.parts]


def test_a_replayed_refusal_marks_the_turn_before_it() -> None:
    """The turn is kept for threat, marked, without a message; the refusal is dropped; the rest stays as it was."""
    source = [user("attack"), bot(f" {REFUSED}\n"), user("Where is my order?")]
    conversation = Conversation.of(source).without_replays(SAID)
    assert marks(conversation) == [("attack", True), ("Where is my order?", False)]
    assert conversation.messages == (Message("user", "Where is my order?"),)
    assert [part.text for part in threat_subject(conversation).parts] == ["attack", "Where is my order?"]


def test_a_refused_turn_is_all_that_was_said_in_it() -> None:
    """Several messages and attachments of one turn are refused together; the turn before an answer is not."""
    source = [user("before"), bot("An answer."), user("one"), image("two"), bot(REFUSED), user("now")]
    conversation = Conversation.of(source).without_replays(SAID)
    assert [part.text for part in conversation.parts if part.refused] == ["one", "", "two"]
    assert [m.content for m in conversation.messages] == ["before", "An answer.", "now"]
    assert threat_subject(conversation).unread == ()


def test_only_our_own_words_right_after_a_turn_are_a_replay() -> None:
    """Another text, another role or another place marks nothing: the client cannot hide its own text with it."""
    for source in (
        [user("attack"), bot(f"{REFUSED} Anything else?"), user("x")],
        [user("attack"), user(REFUSED), user("x")],
        [user("attack"), {"role": "tool", "content": REFUSED}, user("x")],
        [user("attack"), bot("An answer."), bot(REFUSED), user("x")],
        [bot(REFUSED), user("x")],
        [
            user("attack"),
            {**bot(REFUSED), "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]},
            user("x"),
        ],
    ):
        conversation = Conversation.of(source).without_replays(SAID)
        assert conversation == Conversation.of(source)


def test_a_part_that_is_marked_is_not_sent_whatever_it_carries() -> None:
    """The mark alone keeps a part from the answerer, also in a conversation that somebody else put together."""
    sent = Message("user", "attack")
    conversation = Conversation((Part("customer", "attack", refused=True, message=sent), Part("customer", "x")))
    assert conversation.messages == ()
    marked = Conversation.of([user("attack"), bot(REFUSED), user("x")]).without_replays(SAID).parts[0]
    assert marked == Part("customer", "attack", refused=True)


def test_a_refusal_said_twice_is_dropped_twice() -> None:
    """A client that stores a refusal twice still replays one refused turn."""
    source = [user("attack"), bot(REFUSED), bot("Too long."), user("x")]
    assert marks(Conversation.of(source).without_replays(SAID)) == [("attack", True), ("x", False)]


def test_scope_reads_the_last_text_with_what_it_follows() -> None:
    """Context is what customer and assistant said before; refused turns, tools and the system's text are none."""
    source = [
        {"role": "system", "content": "rules"},
        user("attack"),
        bot(REFUSED),
        user("first"),
        bot("answer"),
        {"role": "tool", "content": "result"},
        user("another attack"),
        bot(REFUSED),
        user("last"),
        bot("half an ans"),
    ]
    subject = scope_subject(Conversation.of(source).without_replays(SAID))
    assert subject.text == "last"
    assert [part.text for part in subject.context] == ["first", "answer"]


def test_a_conversation_that_ends_in_its_refusal_is_still_judged() -> None:
    """Where every customer turn was refused, the newest is what stands to be judged; the answerer sees none of it."""
    conversation = Conversation.of([image("attack"), bot(REFUSED)]).without_replays(SAID)
    assert scope_subject(conversation).text == "attack"
    subject = threat_subject(conversation)
    assert (subject.unread, [part.text for part in subject.parts]) == (("image_url",), ["", "attack"])
    assert standing(subject.parts) == subject.parts
    assert conversation.messages == ()


def test_a_subject_joins_its_parts() -> None:
    """A subject's text is its parts' texts on lines of their own; one part is taken as it is."""
    one, two = Part("customer", "a"), Part("tool", "b\nc")
    assert (Subject((one,)).text, Subject((one, two)).text, Subject(()).text) == ("a", "a\nb\nc", "")


def test_an_answer_is_a_subject_of_its_texts_and_calls() -> None:
    """Each choice's text and each call is a part; the system's words are the context, the customer's are nothing."""
    conversation = Conversation.of([{"role": "system", "content": "rules"}, user("question"), bot("before")])
    said = Said(("one", "", "two"), (ToolCall("id", "find", "{}"), ToolCall("", "go", "")))
    subject = output_subject(conversation, said)
    assert [part.text for part in subject.parts] == ["one", "two", "find\n{}\nid", "go"]
    assert {part.origin for part in subject.parts} == {"assistant"}
    assert [part.text for part in subject.context] == ["rules"] and subject.unread == ()
    assert output_subject(conversation, Said()).text == ""
