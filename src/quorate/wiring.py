"""From settings to ready objects: the only place that joins the layers."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from quorate.apps.answer import Answerer, ModelAnswer, QuoteAnswer
from quorate.apps.frontdoor import FrontDoor, Policy, Refusals
from quorate.checks import (
    AfterRefusal,
    Check,
    Judge,
    LocalScopeJudge,
    LocalThreatJudge,
    Panel,
    PromptJudge,
    Template,
    Tiers,
)
from quorate.checks.verdict import CheckKind, OnAbstain
from quorate.engine import Observer, observers
from quorate.errors import ConfigError
from quorate.journal import key_of
from quorate.knowledge import Knowledge
from quorate.models import Model
from quorate.models.http import Session
from quorate.models.local import LocalScope, LocalThreat
from quorate.models.openai import OpenAIModel, Price, Timeouts
from quorate.models.policies import Fallback, Hedge, Limit, Limiter, Retry
from quorate.settings import LOCAL, CheckTable, ModelTable, Settings, api_key, load_settings, resolve

QUESTIONS = {
    "scope": "Is this a legitimate support query for this company?",
    "threat": "Is it safe from security threats?",
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
    """

    settings: Settings
    door: FrontDoor
    knowledge: Knowledge | None
    session: Session
    fingerprint: str
    models: Mapping[str, Model]

    @property
    def checks(self) -> list[Check]:
        """The checks, for `guard()`."""
        return list(self.door.checks.values())


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
        check.update(models=[_OVERRIDE], flags=None, head_start_ms=0)
    raw["answer"] = {**raw.get("answer", {}), "model": _OVERRIDE}
    try:
        return Settings.model_validate(raw)
    except ValueError as error:
        found = f"found {base_url!r} and {model!r}; allowed are an http:// or https:// address and a model's name"
        raise ConfigError("--base-url, --model", [found]) from error


@asynccontextmanager
async def load(
    config: Path | str | None = None, *, settings: Settings | None = None, watch: Sequence[Observer] = ()
) -> AsyncIterator[App]:
    """Open everything that a config describes, and close it after the block.

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
        self._knowledge = self._load_knowledge()

    def app(self) -> App:
        settings = self._settings
        checks = [self._check(name, table) for name, table in settings.checks.items()]
        door = FrontDoor(checks, self._answerer(), policy=self._policy())
        models = {name: self._model(name) for name in settings.models}
        fingerprint = key_of(settings.model_dump_json(), self._versions)
        return App(settings, door, self._knowledge, self.session, fingerprint, models)

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
        kind: CheckKind = table.kind or ("scope" if name == "scope" else "threat")
        tiers = [(_tier_name(tier), self._tier(tier, kind, table)) for tier in table.models]
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
            AfterRefusal(judge) if kind == "threat" else judge,
            kind=kind,
            timeout_s=table.timeout_s,
            on_error=table.on_error,
            on_abstain=on_abstain,
            on_unread=table.on_unread,
            max_chars=table.max_chars,
        )

    def _tier(self, tier: str | list[str], kind: CheckKind, table: CheckTable) -> Judge:
        if isinstance(tier, str):
            return self._local(kind, table) if tier == LOCAL else self._prompt(tier, kind, table)
        voters = tuple((f"{name}-{i}", self._tier(name, kind, table)) for i, name in enumerate(tier, 1))
        return Panel(voters, table.flags or len(voters) // 2 + 1)

    def _prompt(self, model: str, kind: CheckKind, table: CheckTable) -> PromptJudge:
        company = self._settings.company
        template = Template.load(resolve(self._base, table.prompt) if table.prompt else f"{kind}-v1")
        self._versions.append(template.version)
        return PromptJudge(
            self._model(model),
            template,
            company=f"{company.name}, {company.description}",
            decode=kind == "threat",
            threshold=table.threshold,
        )

    def _local(self, kind: CheckKind, table: CheckTable) -> Judge:
        if kind == "threat":
            threat = LocalThreat.load()
            self._versions.append(threat.version)
            return LocalThreatJudge(threat, table.threshold)
        if self._knowledge is None:
            raise ConfigError("checks", ["the local scope check learns from [knowledge], which is missing"])
        texts = [f"{s.name}\n{s.text}" for s in self._knowledge.sections]
        company = self._settings.company
        classifier = LocalScope.fit(
            description=f"{company.name}: {company.description}", sections=texts, examples=self._examples()
        )
        self._versions.append(classifier.version)
        return LocalScopeJudge(classifier, table.pass_below, table.threshold)

    def _examples(self) -> list[str]:
        table = self._settings.knowledge
        if table is None or table.examples is None:
            return []
        path = resolve(self._base, table.examples)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), [f"cannot be read as UTF-8 text: {error}"]) from error
        return [line.strip() for line in lines if line.strip()]

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

        by_reason = {name: getattr(table, name) for name in ("scope", "threat", "too_long", "unread", "error")}
        by_reason |= table.checks
        kinds = {name: check.kind for name, check in self._settings.checks.items()}
        for name, kind in kinds.items():
            by_reason.setdefault(name, by_reason[kind or "threat"])
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


def _tier_name(tier: str | list[str]) -> str:
    return tier if isinstance(tier, str) else "panel:" + "+".join(tier)
