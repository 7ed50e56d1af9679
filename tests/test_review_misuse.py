"""Library calls that are wrong whoever chooses the values, each beside its right twin; and secrets in the code."""

import pytest

from quorate.apps.review.local import entropy, looks_secret
from review_world import found

TWINS = [
    (328, "import hashlib\nhashlib.md5(x)", "import hashlib\nhashlib.sha256(x)"),
    (328, "import hashlib\nhashlib.new('sha1')", "import hashlib\nhashlib.md5(x, usedforsecurity=False)"),
    (327, "from Crypto.Cipher import DES\nDES.new(k)", "from Crypto.Cipher import AES\nAES.new(k, AES.MODE_GCM)"),
    (327, "from Crypto.Cipher import AES\nAES.new(k, AES.MODE_ECB)", "from Crypto.Cipher import AES\nAES.new(k)"),
    (
        326,
        "from Crypto.PublicKey import RSA\nRSA.generate(1024)",
        "from Crypto.PublicKey import RSA\nRSA.generate(4096)",
    ),
    (330, "import random\nt = random.random()", "import random\nt = random.SystemRandom().random()"),
    (614, "r.set_cookie('a', 'b')", "r.set_cookie('a', 'b', secure=True, httponly=True)"),
    (614, "s = False\nr.set_cookie('a', 'b', secure=s)", "s = True\nr.set_cookie('a', 'b', secure=s)"),
    (1004, "r.set_cookie('a', 'b', secure=True)", "r.set_cookie('a', 'b', secure=True, httponly=True)"),
    (295, "import requests\nrequests.get(u, verify=False)", "import requests\nrequests.get(u, verify=True)"),
    (295, "c.check_hostname = False", "c.check_hostname = True"),
    (347, "import jwt\njwt.decode(t, options={'verify_signature': False})", "import jwt\njwt.decode(t, k, ['HS256'])"),
    (400, "import requests\nrequests.get(u)", "import requests\nrequests.get(u, timeout=3)"),
    (732, "import os\nos.chmod('a', 0o777)", "import os\nos.chmod('a', 0o600)"),
    (377, "import tempfile\ntempfile.mktemp()", "import tempfile\ntempfile.mkstemp()"),
    (
        22,
        "import tarfile\ntarfile.open(n).extractall(d)",
        "import tarfile\ntarfile.open(n).extractall(d, filter='data')",
    ),
    (502, "import yaml\nyaml.load(x)", "import yaml\nyaml.safe_load(x)"),
    (79, "import jinja2\njinja2.Environment()", "import jinja2\njinja2.Environment(autoescape=True)"),
    (94, "app.run(debug=True)", "app.run(debug=False)"),
    (1333, "import re\nre.match('(a+)+$', x)", "import re\nre.match('a+$', x)"),
    (798, "password = 'c0rrect-horse'", "password = input()"),
    (798, "key = 'AKIA' + ''\nk = 'AKIAABCDEFGHIJKLMNOP'", "token = 'changeme'"),
    (838, "x = 1  # \u202e", "x = 1  # plain"),
]


@pytest.mark.parametrize(("cwe", "wrong", "right"), TWINS, ids=[f"{cwe}-{n}" for n, (cwe, _, _) in enumerate(TWINS)])
def test_misuse_is_told_from_use(cwe: int, wrong: str, right: str) -> None:
    """The wrong twin is reported with its weakness, the right one is not."""
    assert cwe in found(wrong)
    assert cwe not in found(right)


def test_a_secret_reads_like_one() -> None:
    """Placeholders, addresses and sentences are no secrets; entropy is Shannon's."""
    assert looks_secret("hunter2-Zq9")
    for text in (
        "",
        "changeme",
        "your-password",
        "<secret>",
        "a whole sentence here",
        "https://a.example",
        "PASSWORD",
        3,
    ):
        assert not looks_secret(text)
    assert entropy("aaaa") == 0 and entropy("ab") == 1
