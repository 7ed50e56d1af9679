"""What `benchmarks.service` measures: how each service is started, and by what its refusals are known."""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baseline import FORMAT
from benchmarks.processes import Running, running
from quorate.checks import Template

PEERS = ("nemo-iorails", "litellm")
PLACE = Path(__file__).parents[1] / ".venv-peers"
MISSING = "The peers are left out, they are not installed: make peers"


@dataclass(frozen=True, slots=True)
class Target:
    """A service to measure.

    Attributes:
        name: how the table calls it.
        command: what starts it. `{python}` is this interpreter, `{upstream}` the stand-in's base URL, `{config}` the
            config file with its placeholders filled in, `{folder}` where that lies. With `{port}` it is told a port and
            is ready when that can be connected to; without, it prints one line of JSON with host and port.
        config: the config's template, or None; see `fill`.
        keyed: whether a key is made with `quorate keys` by this config.
        model: what clients ask for; the upstream knows it as "answer".
        key: what clients send as their API key; one that is keyed is given its own.
        more: lines for the end of the config.
        refusal: status of a refusal, and what stands in its body (a regular expression).
        start_s: seconds that it may take to start.
    """

    name: str
    command: str
    config: Path | None = None
    keyed: bool = False
    model: str = "answer"
    key: str = ""
    more: str = ""
    refusal: tuple[int, str] = (200, "content_filter")
    start_s: float = 30.0

    @contextmanager
    def start(self, upstream: str, *, cpu: int | None) -> Iterator[tuple[Running, str, Path]]:
        """Run it in a folder of its own, so that what it stores is new and goes with it; gives the key to ask with."""
        with tempfile.TemporaryDirectory() as folder:
            config, key = Path(folder) / "config", self.key
            if self.config is not None:
                config = config.with_suffix(self.config.suffix)
                config.write_text(f"{fill(self.config, upstream)}{self.more}\n", encoding="utf-8")
            if self.keyed:
                make = [sys.executable, "-m", "quorate", "keys", "create", "bench", "--config", str(config), "--json"]
                key = json.loads(subprocess.run(make, stdout=subprocess.PIPE, check=True).stdout)["secret"]
            known = {"{upstream}": upstream, "{config}": shlex.quote(str(config)), "{folder}": shlex.quote(folder)}
            with running(replaced(self.command, known), cpu=cpu, start_s=self.start_s) as process:
                yield process, key, Path(folder) / "quorate.db"


def replaced(text: str, known: dict[str, str]) -> str:
    """The text with each placeholder replaced; braces that are none of them stay."""
    for placeholder, value in known.items():
        text = text.replace(placeholder, value)
    return text


def fill(template: Path, upstream: str) -> str:
    """A config from its template: `{upstream}` as it is; as JSON the checks' prompts and the form of their verdict."""
    prompts = {f"{{{check}}}": json.dumps(Template.load(f"{check}-v1").text) for check in ("scope", "threat")}
    known = {"{upstream}": upstream, "{format}": json.dumps(FORMAT), **prompts}
    return replaced(template.read_text(encoding="utf-8"), known)


def peers(place: Path = PLACE) -> list[Target]:
    """Other people's front doors, quiet and each in one process; none where `make peers` has not brought them."""
    if not (place / ".complete").exists():
        return []
    configs, programs = Path(__file__).parent / "peers", shlex.quote(str(place / "bin"))
    silent = "env DO_NOT_TRACK=1 NEMO_GUARDRAILS_NO_USAGE_STATS=1 NEMO_GUARDRAILS_DISABLE_CHAT_UI=true"
    silent += " LITELLM_TELEMETRY=False LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_MODE=PRODUCTION LITELLM_LOG=CRITICAL"
    nemo = f"{silent} {programs}/python -m benchmarks.peers.nemo_server {{folder}}"
    litellm = f"{silent} {programs}/litellm --config {{config}} --host 127.0.0.1 --port {{port}}"
    # Plain, and as an event of a stream. A rail that broke says something else in the first and counts as wrong.
    declined = r"I'm sorry, I can't respond to that\.|guardrails_violation"
    return [
        Target(PEERS[0], nemo, configs / "nemo.yaml", refusal=(200, declined), start_s=120),
        Target(PEERS[1], litellm, configs / "litellm.yaml", refusal=(400, "content_filter"), start_s=120),
    ]
