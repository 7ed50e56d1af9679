"""Builds the parts of one app from its settings."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from yarl import URL

from quorate.apps.answer import Answerer, ModelAnswer, QuoteAnswer
from quorate.apps.frontdoor import FrontDoor, Policy, Refusals
from quorate.apps.relay import Windowing, read_relayed
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
from quorate.checks.leak import LeakJudge, with_canary
from quorate.checks.links import LinkJudge, hosts_of
from quorate.checks.verdict import CheckKind, OnAbstain
from quorate.errors import ConfigError
from quorate.journal import key_of
from quorate.knowledge import Knowledge
from quorate.models import Model
from quorate.models.adaptive import Pace
from quorate.models.breaker import Breaker
from quorate.models.http import Session
from quorate.models.local import Languages, LocalModeration, LocalScope, LocalThreat
from quorate.models.local.taught import recall
from quorate.models.openai import OpenAIModel, Price, Timeouts
from quorate.models.policies import Fallback, Hedge, Limit, Limiter, Retry
from quorate.models.relay import Relay
from quorate.settings import KINDS, LOCAL, CheckTable, ModelTable, Settings, UpstreamTable, api_key, resolve
from quorate.wiring.app import App
from quorate.wiring.texts import scope_texts

_SAID = {
    "links": "Does the answer point only where it may?",
    "leak": "Does the answer keep its instructions to itself?",
    "moderation": "Is the answer appropriate?",
}
QUESTIONS = {
    "scope": "Is this a legitimate support query for this company?",
    "threat": "Is it safe from security threats?",
    "moderation": "Is the content appropriate?",
}


class Builder:
    """Builds the parts of one app; each model and classifier once."""

    def __init__(self, settings: Settings, base: Path) -> None:
        self._settings = settings
        self._base = base
        self._tables: list[ModelTable | UpstreamTable] = [*settings.models.values()]
        if settings.upstream is not None:
            self._tables.append(settings.upstream)
        tables = self._tables
        ca_files = {resolve(base, table.ca_file) for table in tables if table.ca_file is not None}
        if len(ca_files) > 1:
            raise ConfigError("models", ["ca_file: all models share one session, so name one file for all of them"])
        room = sum(table.max_running for table in tables)
        self.session = Session(max_connections=max(room, 1), ca_file=next(iter(ca_files), None))
        self._models: dict[str, Model] = {}
        self._versions: list[str] = []
        self._judged_by: dict[str, str] = {}
        self._paces: dict[tuple[str, str | None], Pace] = {}
        self._breakers: dict[str, Breaker] = {}
        self._prompts: list[str] = []
        self.canary = with_canary("")[1]
        self._knowledge = self._load_knowledge()

    def app(self) -> App:
        """The whole app; its session is still closed."""
        settings = self._settings
        checks = [self._check(name, table) for name, table in settings.checks.items()]
        answerer, observe = self._answerer(), settings.mode == "observe"
        output = self._output_checks(observe=observe or settings.output.mode == "observe")
        # A relayed answer is judged in windows by whoever relays it; any other answer is short, and held.
        windows = settings.output.mode == "window" and settings.upstream is not None and not observe
        door = FrontDoor(
            checks,
            answerer,
            policy=self._policy(),
            observe=observe,
            output=[] if windows else output,
            reader=read_relayed,
        )
        models = self.models()
        fingerprint = key_of(settings.model_dump_json(), self._versions)
        answers = self._relay()
        paces = {URL(address).host or address: pace for (address, _), pace in self._paces.items()}
        return App(
            settings,
            door,
            self._knowledge,
            self.session,
            fingerprint,
            models,
            self._judged_by,
            relay=answers,
            windowing=self._windowing(output) if windows and output else None,
            output=output,
            canary=self.canary if settings.output.canary and output else None,
            paces=paces,
            breakers=self._breakers,
        )

    def models(self) -> dict[str, Model]:
        """The models of the config by name, with their policies around them."""
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
                pace=self._pace(table),
            )
            self._models[name] = self._policies(model, name, table)
        return self._models[name]

    def _policies(self, model: Model, name: str, table: ModelTable) -> Model:
        model = Limit(model, self._pace(table))
        if self._shared(table):
            model = Limit(model, Limiter(max_running=table.max_running, max_queued=table.max_queued))
        if table.hedge_after_s is not None:
            model = Hedge(model, after_s=table.hedge_after_s)
        if table.attempts > 1:
            model = Retry(model, attempts=table.attempts)
        if table.fallback is None:
            return model  # Nobody else could answer: a breaker would only fail sooner.
        model = self._breakers[name] = Breaker(model)
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
            mode=table.mode,
            egress=table.egress,
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
        spoken = _commonest(map(foreign, texts.sections or [""]), of=len(texts.sections))
        return LocalScopeJudge(classifier, table.pass_below, table.threshold, foreign, spoken)

    def _pace(self, table: ModelTable | UpstreamTable) -> Pace:
        """The pace towards a server: one for all that it counts together, an address and a key."""
        to = (table.base_url, table.api_key_env)
        if to not in self._paces:
            sharing = [other for other in self._tables if (other.base_url, other.api_key_env) == to]
            room = sum(other.max_running for other in sharing), sum(other.max_queued for other in sharing)
            self._paces[to] = Pace(max_running=room[0], max_queued=room[1])
        return self._paces[to]

    def _shared(self, table: ModelTable) -> bool:
        """Whether a model with a bound of its own shares its server with others."""
        to = (table.base_url, table.api_key_env)
        others = sum((other.base_url, other.api_key_env) == to for other in self._tables)
        return others > 1 and bool({"max_running", "max_queued"} & table.model_fields_set)

    def _relay(self) -> Relay | None:
        table = self._settings.upstream
        if table is None:
            return None
        return Relay(
            base_url=table.base_url,
            session=self.session,
            pace=self._pace(table),
            api_key=api_key(table),
            timeouts=Timeouts(table.first_s, table.idle_s, table.total_s),
            price=Price(table.input_usd, table.output_usd),
        )

    def _output_checks(self, *, observe: bool) -> list[Check]:
        """The checks of what is said, by the names that decisions and refusal texts use."""
        table, sections = self._settings.output, self._knowledge.sections if self._knowledge else []
        if table.mode == "off":
            return []
        judges: dict[str, Judge] = {}
        for name in table.checks:
            if name == "links":
                judges[name] = LinkJudge(hosts_of(sections) | frozenset(table.hosts))
            elif name == "leak":
                public = [section.text for section in sections]
                judges[name] = LeakJudge(self._prompts, self.canary, public=public)
            else:
                judges[name] = LocalModerationJudge(LocalModeration.load(), None, Languages.load().foreign)
        return [
            # What is said in a language that a classifier does not cover was not said by a stranger.
            Check(
                f"output-{name}",
                _SAID[name],
                judge,
                kind="output",
                timeout_s=table.timeout_s,
                on_abstain="admit",
                mode="observe" if observe else "enforce",
            )
            for name, judge in judges.items()
        ]

    def _windowing(self, output: list[Check]) -> Windowing:
        table = self._settings.output
        return Windowing(output, table.window_chars, table.overlap_chars, self._settings.limits.held_bytes)

    def _answerer(self) -> Answerer:
        table, company = self._settings.answer, self._settings.company
        if table.model == "quote":
            if self._knowledge is None:
                raise ConfigError("answer", ["'quote' quotes from [knowledge], which is missing"])
            return QuoteAnswer(self._knowledge, contact=company.contact, unknown=table.unknown)
        template = Template.load("answer-v1", package="quorate.apps")
        marked, self.canary = with_canary(template.text)
        self._prompts.append(template.text)
        return ModelAnswer(
            self._model(table.model),
            template=replace(template, text=marked) if self._settings.output.mode != "off" else template,
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


def _commonest(found: Iterable[str | None], *, of: int) -> str | None:
    """What is found most often, looking no further once the others of so many can change it no more."""
    counts: Counter[str | None] = Counter()
    for one in found:
        counts[one] += 1
        first, second, *_ = *counts.most_common(2), (None, 0)
        if first[1] - second[1] > of - counts.total():
            return first[0]
    return counts.most_common(1)[0][0]


def _tier_name(tier: str | list[str]) -> str:
    return tier if isinstance(tier, str) else "panel:" + "+".join(tier)
