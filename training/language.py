"""Counts what languages look like; `python -m training.language` makes the weights of `quorate.models.local.language`.

The counts are made from message catalogues (gettext `.po` files) in the wheels of projects under BSD licences, and from
the English training rows. Nothing of either is shipped but log-likelihoods of hashed grams.
"""

import argparse
import ast
import json
import random
import re
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.models.local import language
from training.saving import save

WHEELS = (
    "django-5.2.19",
    "django_oscar-4.2.1",
    "wagtail-8.0.1",
    "django_allauth-65.21.1",
    "django_cms-5.1.3",
    "django_two_factor_auth-1.18.1",
    "sphinx-9.0.4",
    "wtforms-3.3.2",
)
"""Wheels with catalogues, all BSD or MIT: `pip download --no-deps -d DIR django==5.2.19 ...`."""
MOST = 6000
STEP = 0.08
SMOOTH = 0.25
SURE = 9.0
EACH = 0.9

_LATIN = """Afrikaans af; Azerbaijani az az_AZ; Catalan ca; Czech cs cs_CZ; Welsh cy; Danish da da_DK; German de de_CH;
 Spanish es es_AR es_MX es_CO es_VE es_419; Estonian et; Basque eu; Finnish fi fi_FI; French fr; Irish ga; Galician gl;
 Croatian hr hr_HR bs sr_Latn; Hungarian hu hu_HU; Indonesian id id_ID ms; Icelandic is is_IS; Italian it;
 Lithuanian lt; Latvian lv; Norwegian nb nb_NO no nn; Dutch nl fy; Polish pl; Portuguese pt pt_BR pt_PT;
 Romanian ro ro_RO;
 Slovak sk sk_SK; Slovenian sl sl_SI; Albanian sq; Swedish sv; Swahili sw; Turkish tr tr_TR; Uzbek uz; Vietnamese vi"""
_CYRILLIC = """Russian ru ru_RU; Ukrainian uk uk_UA; Bulgarian bg; Serbian sr; Macedonian mk; Belarusian be;
 Kazakh kk ky tt"""
_ARABIC = "Arabic ar ar_DZ; Persian fa fa_IR; Urdu ur; Uyghur ug; Kurdish ckb"
_DEVANAGARI = "Hindi hi hi_IN; Marathi mr; Nepali ne"
_MIXED = ("itw_jailbreak", "neuralchemy", "awesome_prompts", "prompts")
"""Sources that hold texts in other languages."""
GROUPS = {"Latin": _LATIN, "Cyrillic": _CYRILLIC, "Arabic": _ARABIC, "Devanagari": _DEVANAGARI}

_FIELD = re.compile(r'^msg(id|str)\w*(?:\[\d\])?\s+((?:"(?:[^"\\]|\\.)*"\s*)+)', re.MULTILINE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SLOT = re.compile(r"%\(?\w*\)?[sdf]?|\{[^}]*\}|<[^>]+>|&\w+;|https?://\S+")


def messages(wheels: Path) -> dict[str, list[str]]:
    """The translated messages of all catalogues, by locale, sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    for wheel in WHEELS:
        with zipfile.ZipFile(next(wheels.glob(f"{wheel}-*.whl"))) as archive:
            for name in archive.namelist():
                where = re.search(r"/locales?/([\w-]+)/", name)
                if name.endswith(".po") and where:
                    for kind, message in _catalogue(archive.read(name).decode("utf-8", "replace")):
                        found["en" if kind == "id" else where[1]].add(message)
    # What is the same in English was not translated.
    return {place: sorted(texts if place == "en" else texts - found["en"]) for place, texts in sorted(found.items())}


def _catalogue(text: str) -> Iterator[tuple[str, str]]:
    for field in _FIELD.finditer(text):
        try:
            message = "".join(ast.literal_eval(part) for part in _QUOTED.findall(field[2]))
        except (SyntaxError, ValueError):
            continue
        if "Project-Id-Version" not in message and len(message) > 3:
            yield field[1], " ".join(_SLOT.sub(" ", message).split())


def english(data: Path, rng: random.Random) -> list[str]:
    """English messages of many kinds, from the training rows."""
    texts: list[str] = []
    for name in ("threat", "scope", "moderation"):
        for line in (data / name / "train.jsonl").read_text("utf-8").split("\n"):
            row = json.loads(line) if line else {"source": "prompts"}
            if not row["source"].startswith(_MIXED):
                texts.append(row["text"][:600])
    return rng.sample(texts, min(8 * MOST, len(texts)))


def likelihoods(classes: Sequence[Sequence[str]]) -> NDArray[np.int8]:
    """Smoothed log-likelihoods of each slot, relative to English's, in steps of `STEP`. Shape (SIZE, classes)."""
    counts = np.zeros((language.SIZE, len(classes)))
    for column, texts in enumerate(classes):
        for text in texts:
            ids = language.slots(language.wordlike(text))
            np.add.at(counts[:, column], np.unique(ids), 1.0)
    shared = counts.sum(axis=1, keepdims=True) / counts.sum()
    # Where little was seen the share of all languages together stands in.
    smooth = (counts + SMOOTH * language.SIZE * shared * 0.2 + 0.02) / (
        counts.sum(axis=0) + SMOOTH * language.SIZE * 0.2 + 0.02 * language.SIZE
    )
    logs = np.log(smooth)
    return np.clip(np.rint((logs - logs.mean(axis=1, keepdims=True)) / STEP), -127, 127).astype(np.int8)


def arrays(catalogues: Mapping[str, Sequence[str]], data: Path, seed: int) -> dict[str, NDArray[np.generic]]:
    """The weights' arrays."""
    rng = random.Random(seed)
    names, groups, classes = [language.ENGLISH], ["Latin"], [[*english(data, rng), *catalogues["en"]]]
    for group, lines in GROUPS.items():
        for line in lines.split(";"):
            name, *locales = line.split()
            texts = [text for locale in locales for text in catalogues.get(locale, ())]
            # People write without accents, too.
            plain = [_bare(text) for text in texts if group == "Latin"]
            names.append(name)
            groups.append(group)
            classes.append(rng.sample(texts, min(MOST, len(texts))) + rng.sample(plain, min(MOST // 4, len(plain))))
    return {
        "table": likelihoods(classes),
        "names": np.array(names),
        "scripts": np.array(groups),
        "scalars": np.array([STEP, SURE, EACH]),
    }


def _bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFKD", char)[0] for char in text)


def main() -> None:
    """Count and save."""
    parser = argparse.ArgumentParser(prog="python -m training.language", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled rows")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the downloaded wheels")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    arguments = parser.parse_args()
    save(arguments.out, "language", arrays(messages(arguments.wheels), arguments.data, 7))


if __name__ == "__main__":
    main()
