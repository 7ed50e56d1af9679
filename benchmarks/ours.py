"""The same jobs by Quorate, with timeouts, deadlines, limiter, retry, nonces and timeline on, as it ships."""

from quorate.apps.answer import Answer
from quorate.apps.frontdoor import FrontDoor, Policy, Refusals
from quorate.checks import Check, Conversation, PromptJudge, Subject, Template
from quorate.events import Branch, Context
from quorate.merges import Veto
from quorate.models import Message, Model, Prompt
from quorate.models.http import Session
from quorate.models.openai import OpenAIModel
from quorate.models.policies import Limit, Limiter, Retry
from quorate.patterns import decide

TEXTS = Refusals({}, "Sorry, I cannot help with this.", "A colleague will answer.")


class Plain:
    """An answerer that calls one model, unstreamed as the baseline's."""

    effects = "none"

    def __init__(self, model: Model) -> None:
        self.model = model

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        messages = (Message("system", "Answer briefly."), *conversation.messages)
        reply = await self.model.complete(Prompt(messages, 600))
        await context.emit(reply.text)
        return Answer(reply.text)


class Ours:
    """The front door as it ships, over one open session."""

    def __init__(self, session: Session, base_url: str, checks: list[str], answer: str) -> None:
        self.session, self.base_url = session, base_url
        self.judges = {name: self.judge(name) for name in checks}
        self.door = FrontDoor(
            [Check(name, "?", judge) for name, judge in self.judges.items()],
            Plain(self.model(answer)),
            policy=Policy(TEXTS),
        )

    def model(self, name: str) -> Model:
        return Retry(Limit(OpenAIModel(name, base_url=self.base_url, session=self.session), Limiter()))

    def judge(self, name: str) -> PromptJudge:
        return PromptJudge(self.model(name), Template.load("scope-v1" if "scope" in name else "threat-v1"))

    async def checks(self, text: str) -> bool:
        return (await self.door.decide(text)).decision != "admit"

    async def respond(self, text: str) -> str | None:
        async with self.door.respond(text) as response:
            decision = await response.decided()
            if decision.decision != "admit":
                return None
            return "".join([piece async for piece in response])

    async def fan_out(self, judge: PromptJudge, subjects: list[Subject]) -> bool:
        branches = [Branch(str(i), lambda _c, s=subject: judge.judge(s)) for i, subject in enumerate(subjects)]
        rule = {"pass": "admit", "flag": "block", "abstain": "escalate"}
        merge = Veto([b.name for b in branches], rule=lambda verdict: rule[verdict.outcome])
        return await decide(branches, merge) != "admit"
