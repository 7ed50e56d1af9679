"""The reviewer that follows outsiders' values, in twins: one that is wrong, one that is right."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.review.flow import FLOW, interpret
from quorate.apps.review.lower import readable
from review_world import found, handler

WRONG = {
    "sql by f-string": (89, "cur.execute(f\"SELECT * FROM t WHERE a = '{q}'\")"),
    "sql by percent": (89, "cur.execute(\"SELECT * FROM t WHERE a = '%s'\" % q)"),
    "sql by format": (89, 'cur.execute("SELECT * FROM t WHERE a = {}".format(q))'),
    "sql by plus, in steps": (89, 'sql = "SELECT * FROM t WHERE a = "\nsql += q\ncur.execute(sql)'),
    "sql in a helper's name": (89, 'db.run("DELETE FROM t WHERE a = " + q)'),
    "shell": (78, 'import os\nos.system("ls " + q)'),
    "shell by flag": (78, 'import subprocess\nsubprocess.run("ls " + q, shell=True)'),
    "shell in a list": (78, 'import subprocess\nsubprocess.run(["sh", "-c", "ls " + q])'),
    "eval": (94, "eval(q)"),
    "pickle": (502, "import pickle, base64\npickle.loads(base64.b64decode(q))"),
    "yaml": (502, "import yaml\nyaml.load(q, Loader=yaml.Loader)"),
    "path": (22, 'open("/srv/" + q).read()'),
    "path object": (22, 'import pathlib\n(pathlib.Path("/srv") / q).read_text()'),
    "page": (79, 'return "<p>" + q + "</p>"'),
    "redirect": (601, "return redirect(q)"),
    "request": (918, "import requests\nrequests.get(q, timeout=1)"),
    "session": (501, 'session["who"] = q'),
    "ldap": (90, 'import ldap3\nldap3.Connection("x").search("ou=a", f"(uid={q})")'),
    "xpath": (643, 'import lxml.etree\nlxml.etree.parse("a").xpath(f"/a[@b=\'{q}\']")'),
    "external entities": (
        611,
        "import xml.sax, xml.dom.minidom\np = xml.sax.make_parser()\n"
        "p.setFeature(xml.sax.handler.feature_external_ges, True)\nxml.dom.minidom.parseString(q, p)",
    ),
    "dictionary": (78, 'import os\nd = {}\nd["a"] = "x"\nd["b"] = q\nos.system("ls " + d["b"])'),
    "list": (78, 'import os\nl = ["x"]\nl.append(q)\nl.pop(0)\nos.system("ls " + l[0])'),
    "config": (
        78,
        'import os, configparser\nc = configparser.ConfigParser()\nc.add_section("s")\nc.set("s", "k", q)\n'
        'os.system("ls " + c.get("s", "k"))',
    ),
    "inner function": (78, 'import os\ndef wrap(x):\n    return "ls " + x\nos.system(wrap(q))'),
    "live branch": (78, 'import os\nn = 106\nc = q if 7 * 18 + n > 200 else "x"\nos.system("ls " + c)'),
}
RIGHT = {
    "parameters": (89, 'cur.execute("SELECT * FROM t WHERE a = ?", (q,))'),
    "a number": (89, 'cur.execute(f"SELECT * FROM t WHERE a = {int(q)}")'),
    "a number by %d": (89, 'cur.execute("SELECT * FROM t WHERE a = %d" % q)'),
    "a fixed list": (89, 'if q not in ("a", "b"):\n    q = "a"\ncur.execute(f"SELECT * FROM t ORDER BY {q}")'),
    "left early": (89, 'if q not in ("a", "b"):\n    return ""\ncur.execute(f"SELECT * FROM t ORDER BY {q}")'),
    "quoted": (78, 'import os, shlex\nos.system("ls " + shlex.quote(q))'),
    "no shell": (78, 'import subprocess\nsubprocess.run(["ls", q])'),
    "literal": (94, "import ast\nast.literal_eval(q)"),
    "safe loader": (502, "import yaml\nyaml.load(q, Loader=yaml.SafeLoader)"),
    "last part of a path": (22, 'import os\nopen("/srv/" + os.path.basename(q)).read()'),
    "no dots": (22, 'if ".." in q:\n    return ""\nopen("/srv/" + q).read()'),
    "below a folder": (
        22,
        'import pathlib\nroot = pathlib.Path("/srv")\np = (root / q).resolve()\n'
        'if not p.is_relative_to(root):\n    return ""\np.read_text()',
    ),
    "escaped": (79, 'import html\nreturn "<p>" + html.escape(q) + "</p>"'),
    "escaped by its own name": (79, 'from helpers import escape_for_html\nreturn f"<p>{escape_for_html(q)}</p>"'),
    "own address": (601, 'return redirect("/next?x=" + q)'),
    "checked host": (
        601,
        "import urllib.parse\nu = urllib.parse.urlparse(q)\n"
        'if u.netloc not in ["a.example"]:\n    return ""\nreturn redirect(q)',
    ),
    "fixed host": (918, 'import requests\nrequests.get("https://api.example/" + q, timeout=1)'),
    "constant session": (501, 'session["who"] = "me"'),
    "escaped for ldap": (
        90,
        "import ldap3\nfrom ldap3.utils.conv import escape_filter_chars\n"
        'ldap3.Connection("x").search("ou=a", f"(uid={escape_filter_chars(q)})")',
    ),
    "quotes taken out": (
        643,
        'import lxml.etree\nlxml.etree.parse("a").xpath("/a[@b=\'%s\']" % q.replace("\'", "&apos;"))',
    ),
    "plain parser": (611, "import xml.dom.minidom\nxml.dom.minidom.parseString(q)"),
    "other entry": (78, 'import os\nd = {}\nd["a"] = "x"\nd["b"] = q\nos.system("ls " + d["a"])'),
    "other element": (78, 'import os\nl = ["x"]\nl.append(q)\nl.append("y")\nl.pop(0)\nos.system("ls " + l[1])'),
    "dead branch": (78, 'import os\nn = 86\nc = "x" if 7 * 42 - n > 200 else q\nos.system("ls " + c)'),
    "constant case": (
        78,
        'import os\nk = "ABC"[1]\nmatch k:\n    case "A":\n        c = q\n    case "B":\n        c = "x"\n'
        '    case _:\n        c = q\nos.system("ls " + c)',
    ),
    "dead after": (78, 'import os\nc = "x"\nwhile False:\n    c = q\nos.system("ls " + c)'),
}


@pytest.mark.parametrize(("cwe", "body"), WRONG.values(), ids=WRONG.keys())
def test_an_outsiders_value_is_followed_to_where_it_does_harm(cwe: int, body: str) -> None:
    """Each way into a dangerous call is reported with its own weakness."""
    assert cwe in found(handler(body))


@pytest.mark.parametrize(("cwe", "body"), RIGHT.values(), ids=RIGHT.keys())
def test_a_value_that_does_no_harm_is_not_reported(cwe: int, body: str) -> None:
    """Parameters, numbers, quoting, fixed lists, dead branches and other entries are told apart."""
    assert cwe not in found(handler(body))


@pytest.mark.parametrize(
    "source",
    [
        'request.form["q"]', 'request.headers.get("q")', 'request.cookies.get("q")', "request.json",
        'request.form.getlist("q")[0]', "request.path",
    ],
)  # fmt: skip
def test_every_part_of_a_request_is_an_outsiders(source: str) -> None:
    """Form, headers, cookies, body and path are the client's to choose."""
    assert 78 in found(handler('import os\nos.system("ls " + str(q))', source))


def test_a_callers_value_is_followed_too_and_a_method_cut_out_of_its_class_is_read() -> None:
    """A function alone, indented, of which nothing is imported, is followed from its parameters."""
    code = "    def get(self, name):\n        self.cur.execute('SELECT * FROM t WHERE n = \"%s\"' % name)\n"
    state, whole = interpret(readable(code).tree, FLOW)
    assert whole and [hit.cwe for hit in state.hits if not hit.fine] == [89]


def test_what_a_function_is_for_is_no_mistake() -> None:
    """A caller's whole path is meant to be opened; one below a folder is not meant to lead out of it."""
    assert found("def load(path):\n    return open(path).read()\n") == set()
    assert found("def load(name):\n    return open('/srv/' + name).read()\n") == {22}


def test_a_file_that_calls_itself_or_nests_for_ever_ends() -> None:
    """Recursion and deep nesting spend the steps; what was not followed is said."""
    code = "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\nf(1)\n"
    assert interpret(readable(code).tree, FLOW)[1]
    deep = "".join("    " * n + f"for x{n} in y:\n" for n in range(18)) + "    " * 18 + "z(x0)\n"
    interpret(readable(deep).tree, FLOW)


@given(st.text(alphabet="abq+%{}()[]\"'=,.:\n #fxdefritun", max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_reviewer(text: str) -> None:
    """Whatever a file holds, it is read or reported, and never raises."""
    found(text)
