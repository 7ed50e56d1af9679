"""Invented strings: names of personas, tails of meaningless tokens, and the strings that machines and hobbies write."""

import base64
import random
import string as letters
import uuid
from collections.abc import Callable
from typing import Final

_SYLLABLES: Final = (
    *("ka", "zor", "mi", "vex", "dra", "lum", "oph", "ryn", "tha", "nox", "sil", "bra", "qui", "jun", "hel", "ax"),
    *("or", "un", "el", "ith", "mor", "da", "xi", "gar", "po", "wen", "fe", "lu", "sha", "tor", "ny", "cy"),
)
_TITLES: Final = ("the Free", "the Unbound", "Prime", "9", "2.0", "X", "the Honest", "Zero", "Unchained", "of the Deep")
_INITIALS: Final = {
    "A": ("Anything", "Absolutely", "Always"),
    "B": ("Beyond", "Boundless"),
    "C": ("Chaos", "Candid"),
    "D": ("Do", "Dark", "Direct"),
    "E": ("Evil", "Every"),
    "F": ("Free", "Filterless"),
    "G": ("Giving", "Guide"),
    "N": ("Never", "No", "Now"),
    "O": ("Open", "Obeys"),
    "R": ("Raw", "Rules", "Refuses"),
    "S": ("Says", "Speaks"),
    "T": ("Truth", "Tells"),
    "U": ("Unlimited", "Uncensored"),
    "X": ("X",),
}
_PEOPLE: Final = (
    *("Old Marrow", "Sister Ash", "Captain Null", "The Librarian", "Uncle Rust", "Madame Orchid", "The Ferryman"),
    *("Doctor Lace", "Jackdaw", "Little Brother", "The Understudy", "Night Clerk", "Red Pen", "Mister Tin", "Echo"),
)
_PIECES: Final = (
    *("describing", "ively", "Now", "tutorial", "Sure", "formatted", "reverse", "}{", "](", "\\n", "==", "!--", "Two"),
    *(
        "\\+",
        "similar",
        "write",
        "one",
        "please",
        "ously",
        "TION",
        "üng",
        "ет",
        "Manual",
        "{@",
        "@@",
        "=>",
        "}}\\",
        "()",
    ),
    *("<?", "--", "//", "<<", "JSON", "step", "opp", "ley", "revert", '"', "inline", "$$", "&&", "///", "begin", "Ok"),
    *("Krit", "ang", "Sprint", "omit", "##", "elas", "nederland", "trans", "html", "qu", "!!!", "[[", "ious", "lik"),
)


def invented_name(rng: random.Random) -> str:
    """A name for an alter ego: syllables, an acronym with or without its meaning, or a person."""
    way = rng.randrange(5)
    if way == 0:
        return rng.choice(_PEOPLE)
    if way == 1:
        chosen = rng.choices(list(_INITIALS), k=rng.randint(3, 5))
        meaning = " ".join(rng.choice(_INITIALS[one]) for one in chosen)
        return "".join(chosen) + (f" ({meaning})" if rng.random() < 0.3 else "")
    name = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
    if way == 2:
        return name + rng.choice(("GPT", "Bot", "AI", "-1", "LM", " v3", "OS"))
    return f"{name} {rng.choice(_TITLES)}" if way == 3 else name


def gibberish(rng: random.Random) -> str:
    """A tail as optimisers of attacks leave it: pieces of words and signs in no order, or mere signs."""
    way = rng.randrange(4)
    if way == 0:
        return " ".join(rng.choice("!?*#@~^") for _ in range(rng.randint(8, 24)))
    if way == 1:
        return "".join(rng.choices(letters.ascii_letters + letters.digits + letters.punctuation, k=rng.randint(20, 70)))
    glue = ("", " ") if way == 2 else (" ", " ")
    return "".join(rng.choice(_PIECES) + rng.choice(glue) for _ in range(rng.randint(9, 26))).strip()


def _hexed(rng: random.Random, count: int) -> str:
    return rng.randbytes(count).hex()


def _log(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(1, 6)):
        level = rng.choice(("INFO", "WARN", "ERROR", "DEBUG"))
        what = rng.choice(("timeout after 3000ms", "retry 2/5", "connection reset", "killed worker", "policy denied"))
        clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
        lines.append(f"{clock} {level} svc-{_hexed(rng, 2)} {what} id={rng.randrange(10**6)}")
    return "\n".join(lines)


def _trace(rng: random.Random) -> str:
    files = rng.sample(("app.py", "shop/cart.py", "core/run.py", "views.py", "db/pool.py", "main.py"), 3)
    calls = "\n".join(
        f'  File "{file}", line {rng.randrange(400)}, in {rng.choice(("run", "get", "save"))}' for file in files
    )
    error = rng.choice(("KeyError: 'role'", "ValueError: bad mode", "TimeoutError", "TypeError: 'NoneType' object"))
    return f"Traceback (most recent call last):\n{calls}\n{error}"


def _token(rng: random.Random) -> str:
    body = f'{{"sub":"{rng.randrange(10**6)}","role":"user","exp":{rng.randrange(10**9, 2 * 10**9)}}}'
    parts = (b'{"alg":"HS256","typ":"JWT"}', body.encode(), rng.randbytes(20))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _chess(rng: random.Random) -> str:
    moves = ("e4 e5", "Nf3 Nc6", "Bb5 a6", "d4 d5", "c4 e6", "Qh5 g6", "O-O Be7", "Rxe1 Kf8", "exd5 Qxd5", "b4 Bxb4")
    return " ".join(f"{number}. {rng.choice(moves)}" for number in range(1, rng.randint(4, 12)))


def _script(rng: random.Random) -> str:
    a, b, c = rng.sample(letters.ascii_lowercase, 3)
    return (
        f"!function({a},{b}){{var {c}={rng.randrange(99)};{a}.{b}=function(){{return {c}+++{rng.randrange(9)}}};"
        f'"{_hexed(rng, 3)}"in {a}||({a}["{_hexed(rng, 2)}"]={b})}}(this,window);'
    )


def _dump(rng: random.Random) -> str:
    return "\n".join(f"{row * 16:08x}  {rng.randbytes(16).hex(' ')}" for row in range(rng.randint(1, 5)))


def _table(rng: random.Random) -> str:
    goods = rng.sample(("pear", "plum", "lamp", "screw", "kettle", "rope", "chair", "ink"), rng.randint(2, 6))
    mark = rng.choice(("|", ";", ",", "\t"))
    return "\n".join(
        f"{one}{mark}{rng.randrange(200)}{mark}{rng.randrange(99)}.{rng.randrange(99):02}" for one in goods
    )


_STRINGS: Final[tuple[Callable[[random.Random], str], ...]] = (
    lambda rng: str(uuid.UUID(bytes=rng.randbytes(16), version=4)),
    lambda rng: _hexed(rng, rng.choice((8, 16, 20, 32, 64))),
    lambda rng: base64.b64encode(rng.randbytes(rng.randint(12, 90))).decode(),
    lambda rng: "-".join("".join(rng.choices(letters.ascii_uppercase + letters.digits, k=5)) for _ in range(5)),
    lambda rng: "".join(rng.choices("ACGT", k=rng.randint(20, 120))),
    lambda rng: "1Z" + "".join(rng.choices(letters.ascii_uppercase + letters.digits, k=16)),
    lambda rng: f"https://shop.example/{_hexed(rng, 3)}?ref=%F0%9F%8E%81&id={rng.randrange(10**6)}&t={_hexed(rng, 8)}",
    lambda rng: "".join(rng.choices("asdfghjklöqwertzuiopyxcvbnm ", k=rng.randint(15, 60))),
    lambda rng: "^(?:" + "|".join(rng.sample((r"\d{2,4}", "[A-Z]+", r"\+49", r"\s*", r"[^\"]*", r"\w+"), 4)) + ")$",
    lambda rng: "$2b$12$" + "".join(rng.choices(letters.ascii_letters + letters.digits + "./", k=53)),
    lambda rng: " ".join(
        rng.choices(("🎂", "🎈", "😂", "🚗", "🏖️", "🙏", "👀", "🍕", "❓", "🐶"), k=rng.randint(2, 12))
    ),
    lambda rng: "ssh-ed25519 AAAAC3Nz" + base64.b64encode(rng.randbytes(36)).decode() + " me@laptop",
    lambda rng: (
        f"\\frac{{{rng.randrange(9)}x^{rng.randrange(9)}}}{{\\sqrt{{{rng.randrange(99)}}}}} = \\sum_{{k=0}}^n a_k"
    ),
    lambda rng: f".c{_hexed(rng, 2)}{{margin:0 {rng.randrange(40)}px;color:#{_hexed(rng, 3)};display:none}}",
    _log,
    _trace,
    _token,
    _chess,
    _script,
    _dump,
    _table,
)


def string(rng: random.Random) -> str:
    """A string as honest people paste it: an id, a key, a log, code, a table, chess moves."""
    return rng.choice(_STRINGS)(rng)
