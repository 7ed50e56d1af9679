"""From settings to ready objects: the only place that joins the layers."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from threadpoolctl import threadpool_limits

from quorate.apps.answer import Answerer, ModelAnswer, QuoteAnswer
from quorate.apps.frontdoor import FrontDoor, Policy, Refusals
from quorate.checks import (
    AfterRefusal,
    Check,
    Judge,
    LocalModerationJudge,
    LocalScopeJudge,
    LocalThreatJudge,
    Panel,
    PromptJudge,
    Template,
    Tiers,
    Unsure,
)
from quorate.checks.verdict import CheckKind, OnAbstain
from quorate.engine import Observer, observers
from quorate.errors import ConfigError
from quorate.journal import key_of
from quorate.knowledge import Knowledge
from quorate.models import Model
from quorate.models.http import Session
from quorate.models.local import Languages, LocalModeration, LocalScope, LocalThreat
from quorate.models.local.taught import path_of, recall
from quorate.models.openai import OpenAIModel, Price, Timeouts
from quorate.models.policies import Fallback, Hedge, Limit, Limiter, Retry
from quorate.settings import KINDS, LOCAL, CheckTable, Company, ModelTable, Settings, api_key, load_settings, resolve

QUESTIONS = {
    "scope": "Is this a legitimate support query for this company?",
    "threat": "Is it safe from security threats?",
    "moderation": "Is the content appropriate?",
}
_OVERRIDE = "llm"


@dataclass(frozen=True, slots=True)
class App:
    """Everything that a config describes, ready to use.

    Attributes:
        settings: what it was made from.
        door: the front door, with its answerer.
        knowledge: the help centre, or None where the config has none.
        session: the HTTP session that its models share.
        fingerprint: changes with anything that decisions depend on: config, prompts, weights, help centre.
        models: the models of the config by name, with their policies around them.
        versions: what judges each check: weights, prompts and models, in one line.
    """

    settings: Settings
    door: FrontDoor
    knowledge: Knowledge | None
    session: Session
    fingerprint: str
    models: Mapping[str, Model]
    versions: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """What is doubtful about the config though nothing in it is wrong, a line each."""
        tables = self.settings.checks.items()
        found = [(name, kept) for name, table in tables for kept in (table.evidence, table.tier_evidence) if kept]
        return [
            f"checks.{name}: its bounds were calibrated for {kept.version}, and now {self.versions[name]} judges: "
            f"what {kept.data} promised may not hold; run `quorate calibrate` again"
            for name, kept in found
            if kept.version != self.versions[name]
        ]

    @property
    def checks(self) -> list[Check]:
        """The checks, for `guard()`."""
        return list(self.door.checks.values())


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


def example_config() -> Path:
    """The config of the example company, from the installed package or from a checkout."""
    shipped = Path(str(resources.files("quorate"))) / "examples" / "lantern" / "quorate.toml"
    checkout = Path(__file__).resolve().parents[2] / "examples" / "lantern" / "quorate.toml"
    found = next((path for path in (shipped, checkout) if path.is_file()), None)
    if found is None:
        raise ConfigError("example company", ["it is not installed; give a config with --config FILE"])
    return found


def with_model(settings: Settings, *, base_url: str, model: str) -> Settings:
    """The same settings with every check and the answer given to one model at one address.

    Its key is read from QUORATE_API_KEY, or else OPENAI_API_KEY.

    Raises:
        ConfigError: the address is not an http(s) address.
    """
    key = "QUORATE_API_KEY" if os.environ.get("QUORATE_API_KEY") else "OPENAI_API_KEY"
    raw = settings.model_dump(exclude_unset=True)
    raw["models"] = {_OVERRIDE: {"base_url": base_url, "model": model, "api_key_env": key}}
    for check in raw["checks"].values():
        check.update(models=[_OVERRIDE], flags=None, voters={}, head_start_ms=0)
    raw["answer"] = {**raw.get("answer", {}), "model": _OVERRIDE}
    try:
        return Settings.model_validate(raw)
    except ValueError as error:
        found = f"found {base_url!r} and {model!r}; allowed are an http:// or https:// address and a model's name"
        raise ConfigError("--base-url, --model", [found]) from error


@asynccontextmanager
async def open_models(tables: Mapping[str, ModelTable], base: Path) -> AsyncIterator[Mapping[str, Model]]:
    """Open models by name, with their policies, for work that needs no checks; they are closed after the block."""
    nobody = Company(name="-", description="-")
    builder = _Builder(Settings.model_construct(version=1, company=nobody, checks={}, models=dict(tables)), base)
    async with builder.session:
        yield builder.models()


@asynccontextmanager
async def load(
    config: Path | str | None = None, *, settings: Settings | None = None, watch: Sequence[Observer] = ()
) -> AsyncIterator[App]:
    """Open everything that a config describes, and close it after the block.

    Inside the block numpy's linear algebra uses one thread a call, in the whole process.

    Args:
        config: a `quorate.toml`; without one, the example company's.
        settings: settings to use in place of the file's; relative paths still start from its folder.
        watch: observers of every run started inside the block.

    Raises:
        ConfigError: the config, or a file it names, has mistakes.
    """
    path = Path(config) if config is not None else example_config()
    chosen = settings if settings is not None else load_settings(path)
    builder = _Builder(chosen, path.parent)
    token = observers.set((*observers.get(), *watch))
    try:
        # The products are small: to share one out to threads costs several times what it takes.
        with threadpool_limits(limits=1, user_api="blas"):
            async with builder.session:
                yield builder.app()
    finally:
        observers.reset(token)


class _Builder:
    """Builds the parts of one app; each model and classifier once."""

    def __init__(self, settings: Settings, base: Path) -> None:
        self._settings = settings
        self._base = base
        tables = settings.models.values()
        ca_files = {resolve(base, table.ca_file) for table in tables if table.ca_file is not None}
        if len(ca_files) > 1:
            raise ConfigError("models", ["ca_file: all models share one session, so name one file for all of them"])
        room = sum(table.max_running for table in tables)
        self.session = Session(max_connections=max(room, 1), ca_file=next(iter(ca_files), None))
        self._models: dict[str, Model] = {}
        self._versions: list[str] = []
        self._judged_by: dict[str, str] = {}
        self._knowledge = self._load_knowledge()

    def app(self) -> App:
        settings = self._settings
        checks = [self._check(name, table) for name, table in settings.checks.items()]
        door = FrontDoor(checks, self._answerer(), policy=self._policy())
        models = self.models()
        fingerprint = key_of(settings.model_dump_json(), self._versions)
        return App(settings, door, self._knowledge, self.session, fingerprint, models, self._judged_by)

    def models(self) -> dict[str, Model]:
        return {name: self._model(name) for name in self._settings.models}

    def _load_knowledge(self) -> Knowledge | None:
        table = self._settings.knowledge
        return Knowledge.load(resolve(self._base, table.folder), language=table.language) if table else None

    def _model(self, name: str) -> Model:
        if name not in self._models:
            table = self._settings.models[name]
            model: Model = OpenAIModel(
                table.model,
                base_url=table.base_url,
                session=self.session,
                api_key=api_key(table),
                timeouts=Timeouts(table.first_s, table.idle_s, table.total_s),
                price=Price(table.input_usd, table.output_usd),
            )
            self._models[name] = self._policies(model, name, table)
        return self._models[name]

    def _policies(self, model: Model, name: str, table: ModelTable) -> Model:
        model = Limit(model, Limiter(max_running=table.max_running, max_queued=table.max_queued))
        if table.hedge_after_s is not None:
            model = Hedge(model, after_s=table.hedge_after_s)
        if table.attempts > 1:
            model = Retry(model, attempts=table.attempts)
        if table.fallback is None:
            return model
        if self._settings.models[table.fallback].fallback is not None:
            raise ConfigError(f"models.{name}", [f"fallback: {table.fallback!r} has a fallback of its own"])
        return Fallback([model, self._model(table.fallback)])

    def _check(self, name: str, table: CheckTable) -> Check:
        kind = _kind(name, table)
        before = len(self._versions)
        early = _early(table, kind)
        last = len(table.models) - 1
        tiers = [
            (_tier_name(tier), self._tier(tier, kind, table if at == last else early))
            for at, tier in enumerate(table.models)
        ]
        self._judged_by[name] = ", ".join(self._versions[before:])
        on_abstain: OnAbstain = table.on_abstain or ("next_tier" if len(tiers) > 1 else "escalate")
        judge: Judge = tiers[0][1]
        if len(tiers) > 1:
            judge = Tiers(
                tuple(tiers),
                clear_below=table.clear_below,
                flag_alone=table.flag_alone,
                abstain_decides=on_abstain != "next_tier",
                head_start_s=table.head_start_ms / 1000,
            )
        return Check(
            name,
            table.question or QUESTIONS[kind],
            judge if kind == "scope" else AfterRefusal(judge),
            kind=kind,
            timeout_s=table.timeout_s,
            on_error=table.on_error,
            on_abstain=on_abstain,
            on_unread=table.on_unread,
            max_chars=table.max_chars,
        )

    def _tier(self, tier: str | list[str], kind: CheckKind, table: CheckTable) -> Judge:
        if isinstance(tier, str):
            if (voter := table.voters.get(tier)) is not None:
                own = voter.model_dump(include={"prompt", "threshold"}, exclude_none=True)
                tier, table = voter.model, table.model_copy(update=own)
            judge = self._local(kind, table) if tier == LOCAL else self._prompt(tier, kind, table)
            return judge if table.pass_below is None else Unsure(judge, table.pass_below)
        weights = {name: voter.weight for name, voter in table.voters.items()}
        return Panel.of([(name, self._tier(name, kind, table)) for name in tier], k=table.flags, weights=weights)

    def _prompt(self, model: str, kind: CheckKind, table: CheckTable) -> PromptJudge:
        company = self._settings.company
        prompt = table.prompt or Path(f"{kind}-v1")
        template = Template.load(resolve(self._base, prompt) if prompt.suffix else str(prompt))
        self._versions.append(f"{template.version} by {self._settings.models[model].model}")
        return PromptJudge(
            self._model(model),
            template,
            company=f"{company.name}, {company.description}",
            decode=kind != "scope",
            threshold=table.threshold,
        )

    def _local(self, kind: CheckKind, table: CheckTable) -> Judge:
        foreign = Languages.load().foreign
        if kind == "threat":
            self._versions.append((threat := LocalThreat.load()).version)
            return LocalThreatJudge(threat, table.threshold, foreign)
        if kind == "moderation":
            self._versions.append((moderation := LocalModeration.load()).version)
            return LocalModerationJudge(moderation, table.threshold, foreign)
        if self._knowledge is None:
            raise ConfigError("checks", ["the local scope check learns from [knowledge], which is missing"])
        texts = scope_texts(self._settings, self._base, knowledge=self._knowledge)
        classifier = LocalScope.fit(
            description=texts.description,
            sections=texts.sections,
            examples=texts.examples,
            taught=recall(texts.learned),
        )
        self._versions.append(classifier.version)
        spoken = Counter(map(foreign, texts.sections or [""])).most_common(1)[0][0]
        return LocalScopeJudge(classifier, table.pass_below, table.threshold, foreign, spoken)

    def _answerer(self) -> Answerer:
        table, company = self._settings.answer, self._settings.company
        if table.model == "quote":
            if self._knowledge is None:
                raise ConfigError("answer", ["'quote' quotes from [knowledge], which is missing"])
            return QuoteAnswer(self._knowledge, contact=company.contact, unknown=table.unknown)
        return ModelAnswer(
            self._model(table.model),
            knowledge=self._knowledge,
            company=f"{company.name}, {company.description}",
            contact=company.contact,
            max_tokens=table.max_tokens,
            sections=table.sections,
        )

    def _policy(self) -> Policy:
        table, limits, company = self._settings.refusals, self._settings.limits, self._settings.company

        def told(text: str) -> str:
            return text.replace("{company}", company.name).replace("{contact}", company.contact)

        by_reason = {name: getattr(table, name) for name in (*KINDS, "too_long", "unread", "error")}
        by_reason |= table.checks
        kinds = {name: _kind(name, check) for name, check in self._settings.checks.items()}
        for name, kind in kinds.items():
            if kind == "moderation":
                by_reason[f"{name}:self-harm"] = table.self_harm
            by_reason.setdefault(name, by_reason[kind])
        refusals = Refusals(
            {name: told(text) for name, text in by_reason.items()},
            told(table.default),
            told(table.handover),
            table.uniform_refusal,
        )
        return Policy(
            refusals,
            trusted=frozenset(self._settings.trust.origins),
            speculate=self._settings.answer.speculate,
            decide_timeout_s=limits.decide_timeout_s,
            timeout_s=limits.timeout_s,
            held_bytes=limits.held_bytes,
        )


def _early(table: CheckTable, kind: CheckKind) -> CheckTable:
    """The bounds of every tier but the last: it may only decide beyond them."""
    update: dict[str, float | None] = {"pass_below": None}
    if kind == "scope":
        # The local scope check is unsure by itself between bounds of its own.
        update["pass_below"] = table.clear_below or table.pass_below
    if table.flag_above is not None:
        update["threshold"] = table.flag_above
    return table.model_copy(update=update)


def _kind(name: str, table: CheckTable) -> CheckKind:
    """What a check is about: as its table says, or else as it is named."""
    named: dict[str, CheckKind] = {"scope": "scope", "moderation": "moderation"}
    return table.kind or named.get(name, "threat")


def _tier_name(tier: str | list[str]) -> str:
    return tier if isinstance(tier, str) else "panel:" + "+".join(tier)
