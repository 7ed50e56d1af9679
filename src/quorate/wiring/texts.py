"""What the local scope check is fitted from."""

from dataclasses import dataclass
from pathlib import Path

from quorate.errors import ConfigError
from quorate.knowledge import Knowledge
from quorate.models.local.taught import path_of
from quorate.settings import Settings, resolve


@dataclass(frozen=True, slots=True)
class ScopeTexts:
    """What the local scope check is fitted from.

    Attributes:
        description: the company's name and description.
        sections: its help centre.
        examples: its customers' questions; may be empty.
        learned: where `quorate learn-scope` keeps what it learned.
    """

    description: str
    sections: list[str]
    examples: list[str]
    learned: Path


def scope_texts(settings: Settings, base: Path, *, knowledge: Knowledge | None = None) -> ScopeTexts:
    """Read what the local scope check is fitted from; `base` is the config's folder.

    Raises:
        ConfigError: the config has no [knowledge], or its files cannot be read.
    """
    table = settings.knowledge
    if table is None:
        raise ConfigError("checks", ["the local scope check learns from [knowledge], which is missing"])
    folder = resolve(base, table.folder)
    found = knowledge or Knowledge.load(folder, language=table.language)
    company = settings.company
    return ScopeTexts(
        f"{company.name}: {company.description}",
        [f"{section.name}\n{section.text}" for section in found.sections],
        _examples(resolve(base, table.examples)) if table.examples else [],
        path_of(folder),
    )


def _examples(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read as UTF-8 text: {error}"]) from error
    return [line.strip() for line in lines if line.strip()]
