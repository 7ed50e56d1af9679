"""Calls in which an outsider's value does harm, as data, and the rules that look at them."""

import re
from dataclasses import dataclass
from typing import Final

from quorate.apps.review.flow.calls import Site
from quorate.apps.review.flow.state import State, Stored
from quorate.apps.review.flow.values import ANY, CERTAIN, HOLE, STRENGTH, Value, mix


@dataclass(frozen=True, slots=True)
class Sink:
    """Calls with a dangerous argument.

    Attributes:
        rule: its name.
        cwe: number of the weakness.
        use: what a value must have been cleaned for.
        harm: what an outsider can do.
        severity: how bad that is.
        names: full dotted names, as alternatives of one pattern.
        methods: last names, whatever the receiver is.
        at: position of the dangerous argument.
        keys: its names.
        least: the weakest source that counts.
    """

    rule: str
    cwe: int
    use: str
    harm: str
    severity: str
    names: str = ""
    methods: tuple[str, ...] = ()
    at: int = 0
    keys: tuple[str, ...] = ()
    least: str = "param"


_OS_FILES = (
    "open|remove|unlink|rename|renames|replace|rmdir|removedirs|mkdir|makedirs|listdir|scandir|walk|chmod|chown|"
    "symlink|link|truncate|stat|access|startfile"
)
SINKS: Final = (
    Sink("shell", 78, "shell", "run commands", "critical",
         r"os\.(system|popen\d?)|popen2\.\w+|commands\.get\w+|subprocess\.get(status)?output|pty\.spawn|"
         r"asyncio\.(subprocess\.)?create_subprocess_shell|platform\.popen|posix\.system", keys=("cmd", "command"),
         least="free"),
    Sink("remote-shell", 78, "shell", "run commands on another machine", "high",
         methods=("exec_command", "ssh_execute", "_run_ssh", "run_ssh", "sendline"), keys=("command", "cmd"),
         least="free"),
    Sink("program", 78, "shell", "choose the program that is run", "high",
         r"os\.(exec[lv]p?e?|posix_spawnp?)|asyncio\.create_subprocess_exec", least="input"),
    Sink("code", 94, "code", "run code", "critical",
         r"eval|exec|execfile|compile|builtins\.(eval|exec)|code\.(interact|InteractiveInterpreter)|timeit\.timeit|"
         r"__builtin__\.(eval|exec)|six\.exec_", keys=("source",), least="free"),
    Sink("import", 470, "code", "load a module of choice", "medium",
         r"__import__|importlib\.import_module|imp\.load_\w+|runpy\.run_\w+", keys=("name",)),
    Sink("template", 94, "code", "write the template", "high",
         r"flask\.render_template_string|jinja2\.Template|mako\.template\.Template|django\.template\.Template|"
         r"jinja2\.Environment\(\)\.from_string|\w*env\w*\.from_string", keys=("source", "text")),
    Sink("pickle", 502, "load", "run code when the object is built", "critical",
         r"(c?[pP]ickle|_pickle|dill|cloudpickle|marshal|jsonpickle|joblib|pandas|torch|shelve)\."
         r"(load|loads|decode|read_pickle|open|Unpickler)|pickle\.Unpickler\(\)\.load|six\.moves\.cPickle\.loads?",
         keys=("data", "file", "string")),
    Sink("yaml", 502, "load", "run code when the object is built", "critical",
         r"yaml\.(unsafe_load|unsafe_load_all)", keys=("stream",)),
    Sink("path", 22, "path", "reach files of choice", "high",
         rf"open|io\.open|codecs\.open|os\.({_OS_FILES})|shutil\.(copy\w*|move|rmtree|unpack_archive|make_archive)|"
         r"pathlib\.Path\(\)\.(open|read_text|read_bytes|write_text|write_bytes|unlink|mkdir|rmdir|iterdir|glob|touch|"
         r"rename|replace|exists|is_file|is_dir|stat)|Path\(\)\.(open|read_\w+|write_\w+|unlink)|zipfile\.ZipFile|tarfile\.open|aiofiles\.open|"
         r"flask\.send_file|django\.http\.FileResponse|starlette\.responses\.FileResponse|fastapi\.responses\.FileResponse|"
         r"FileResponse|send_file|bottle\.static_file_root|linecache\.getline|gzip\.open|bz2\.open|file|"
         r"numpy\.(load|loadtxt|save)|os\.path\.(exists|isfile|isdir|getsize)", keys=("file", "path", "filename")),
    Sink("ssrf", 918, "ssrf", "make requests from inside", "high",
         r"(requests|httpx)\.(get|post|put|delete|head|patch|options|stream)|(requests|httpx)\.\w*(Session|Client)\(\)\."
         r"(get|post|put|delete|head|patch|request)|urllib\.request\.(urlopen|urlretrieve|Request)|urllib2?\.urlopen|"
         r"urllib2?\.Request|urllib\.urlretrieve|aiohttp\.ClientSession\(\)\.\w+|http\.client\.HTTPS?Connection|"
         r"urllib3\.PoolManager\(\)\.urlopen|pycurl\.Curl\(\)\.setopt", keys=("url",)),
    Sink("ssrf", 918, "ssrf", "make requests from inside", "high",
         r"(requests|httpx)\.request|urllib3\.PoolManager\(\)\.request", at=1, keys=("url",)),
    Sink("redirect", 601, "redirect", "send visitors to another site", "medium",
         r"(flask|bottle|quart|werkzeug\.utils|django\.shortcuts|django\.http|aiohttp\.web|web)\.redirect|"
         r"redirect|"
         r"(django\.http\.)?HttpResponse(Permanent)?Redirect|(starlette|fastapi)\.responses\.RedirectResponse|"
         r"RedirectResponse|(self|handler)\w*:?\w*\.redirect|web\.seeother|aiohttp\.web\.HTTPFound|HTTPFound",
         keys=("location", "url", "redirect_to"), least="input"),
    Sink("html", 79, "html", "put script into the page", "high",
         r"(flask|markupsafe|jinja2)\.Markup|Markup|(django\.utils\.safestring\.)?(mark_safe|SafeString|SafeText)|"
         r"(django\.http\.)?HttpResponse|self:?\w*\.wfile\.write|(starlette|fastapi)\.responses\.HTMLResponse|"
         r"HTMLResponse|self:?\w*\.(response\.)?(out\.)?write|(flask\.)?make_response|flask\.Response",
         keys=("content", "response", "data", "s")),
    Sink("html", 79, "html", "put script into the page", "high",
         r"(django\.utils\.html\.)?format_html", keys=("format_string",)),
    Sink("ldap", 90, "ldap", "change the directory query", "high",
         methods=("search_s", "search_st", "search_ext_s", "search_ext", "paged_search"), at=2,
         keys=("filterstr", "search_filter")),
    Sink("ldap", 90, "ldap", "change the directory query", "high",
         r"(ldap3?\.)?Connection\(\)\.search|.*(ldap|conn\w*|client|ad)\w*(\(\))?\.search", at=1,
         keys=("search_filter", "filter")),
    Sink("xpath", 643, "xpath", "change the query", "high",
         methods=("xpath", "XPathEvaluator"), keys=("path", "_path")),
    Sink("xpath", 643, "xpath", "change the query", "high",
         r"lxml\.etree\.(XPath|ETXPath)|.*(etree|ElementTree|root|tree|doc|xml)\w*(\(\))?(\.\w+(\(\))?)*\."
         r"(find|findall|findtext|iterfind|select)", keys=("path",)),
    Sink("xpath", 643, "xpath", "change the query", "high", r"elementpath\.(select|iter_select|Selector)", at=1),
    Sink("regex", 1333, "regex", "stall the program with a pattern of their own", "medium",
         r"re\.(compile|match|search|fullmatch|findall|finditer|sub|split)", keys=("pattern",), least="input"),
    Sink("header", 113, "header", "add headers to the response", "medium",
         methods=("add_header", "send_header", "set_header"), at=1, least="web"),
    Sink("log", 117, "log", "forge log lines", "low",
         r"(logging|logger|log|LOG|app\.logger|current_app\.logger)\.(debug|info|warning|warn|error|critical|exception)",
         least="web"),
)  # fmt: skip
_CALLERS: Final = frozenset(("path", "ssrf", "html", "load"))
_LEAST_WHOLE: Final = {"shell": STRENGTH["param"], "remote-shell": STRENGTH["input"]}
_BY_METHOD: Final = {method: sink for sink in SINKS for method in sink.methods}
_PATTERNS: Final = tuple((re.compile(rf"(?:{sink.names})\Z"), sink) for sink in SINKS if sink.names)
_RUNNERS: Final = re.compile(
    r"(subprocess\.(Popen|call|run|check_call|check_output)|"
    r".*(execute|_exec|run_command|run_cmd|_cli_run|shell_exec|exec_cmd|check_output|_ssh|_cmd|system))\Z"
)
_FIXED_URL: Final = re.compile(r"^(https?:)?//[^/\0]+/|^/[^/\\\0]|^[a-z]+\.[a-z]+/", re.IGNORECASE)
_SHELLS: Final = re.compile(r"^(/(usr/)?bin/)?(ba|z|k|da|c)?sh$|^cmd(\.exe)?$|^powershell(\.exe)?$")
SQL: Final = re.compile(
    r"^\W*(select\s.+\sfrom\s|insert\s+(or\s+\w+\s+)?into\s|update\s.+\sset\s|delete\s+from\s|create\s+(table|database|"
    r"index|view|user|role)|drop\s+(table|database|view|index|user|role)|alter\s+(table|user|role)|replace\s+into\s|merge\s+into|"
    r"truncate\s+table|grant\s|exec(ute)?\s+\w+|call\s+\w+\(|with\s+\w+\s+as\s*\(|union\s+(all\s+)?select|"
    r"use\s+\0|show\s+tables|pragma\s)|\s(where|values|having)\s.*(=|like|in)\s*\(?\s*['\"]?\0|order\s+by\s+\0|limit\s+\0",
    re.IGNORECASE | re.DOTALL,
)
_SQL_CALLS: Final = frozenset(
    ("execute", "executemany", "executescript", "raw", "read_sql", "read_sql_query", "query", "exec", "exec_driver_sql",
     "execute_sql", "executeSQL", "run_sql", "execute_query", "run_query", "prepare", "mogrify", "fetchval", "fetchrow",
     "text", "RawSQL", "extra", "db_query", "sql", "callproc", "cursor_execute", "fetch", "fetch_all", "fetch_one")
)  # fmt: skip
_SQL_QUIET: Final = re.compile(
    r"(print|format|join|append|debug|info|warning|error|exception|write|strip|replace|split|encode|decode|lower|upper|"
    r"len|str|repr|extend|add|startswith|endswith|isinstance|raise|Exception|Error|log|message|say|reply|send_message|"
    r"send|flash|gettext|_|__|ugettext|fail|skip|insert|dumps|compile|put|set|update|escape|dedent|find|count|type|"
    r"assertEqual|assertIn|heading|expect|match|search|sub|cleandoc|TypeError|ValueError)$"
)
_NAME_HOLE: Final = re.compile(
    r"(from|into|update|table|join|index|view|column|order\s+by|set)\s+[`\"\[]?\0", re.IGNORECASE
)


def look(site: Site, state: State) -> None:
    """The rule over `SINKS`."""
    found = [sink for pattern, sink in _PATTERNS if pattern.match(site.name)]
    if not found and site.method in _BY_METHOD:
        found = [_BY_METHOD[site.method]]
    for sink in found:
        value = site.arg(sink.at, *sink.keys)
        if value is None and site.kwargs:
            value = site.kwargs.get("**")
        if sink.rule == "path" and site.name.rpartition(".")[0].endswith("Path()"):
            value = site.receiver
        if value is not None:
            judge(sink, value, site=site, state=state)


def judge(sink: Sink, value: Value, *, site: Site, state: State) -> None:
    """Say whether a value may go into a sink, and note either."""
    node = site.node
    if value.is_safe(sink.use) or _fixed(sink, value):
        if value.taint:
            state.fine(sink.cwe, node, why=cleaned(value))
        elif value.fixed:
            state.fine(sink.cwe, node, why="the value is constant")
        return
    if value.strength < STRENGTH[sink.least]:
        return
    if value.strength < STRENGTH["input"] and _meant(sink, value):
        return
    if sink.rule in ("shell", "remote-shell") and value.shape is None and value.strength < _LEAST_WHOLE[sink.rule]:
        return  # A wrapper: whoever calls it builds the command.
    if sink.rule == "code" and site.name == "compile" and value.strength < STRENGTH["input"]:
        return
    if sink.rule == "html" and value.strength < STRENGTH["web"] and "<" not in value.text and "ark" not in site.name:
        return
    if sink.rule == "html" and _not_html(site):
        state.fine(sink.cwe, node, why="the response is not HTML")
        return
    message = f"{origin(value)} reaches {short(site.name)}(): an outsider could {sink.harm}"
    severity = "medium" if sink.use in _CALLERS and value.strength < STRENGTH["input"] else sink.severity
    state.hit(sink.rule, sink.cwe, node=node, value=value, message=message, severity=severity)


def _meant(sink: Sink, value: Value) -> bool:
    """Whether a caller's value is what the function is for: a path to open, an address to ask, a module to load."""
    if sink.rule in ("regex", "import"):
        return True
    if sink.use not in ("path", "ssrf"):
        return False
    before = value.text.rpartition(HOLE)[0]  # A path below a folder, or a host in an address, is not meant to be all.
    return not before.strip("./\\")


def _not_html(site: Site) -> bool:
    kind = site.arg(9, "mimetype", "content_type", "media_type")
    return kind is not None and isinstance(kind.const, str) and "html" not in kind.const and "xml" not in kind.const


def _fixed(sink: Sink, value: Value) -> bool:
    """Whether the part that an outsider chooses stands where it does no harm."""
    if sink.use in ("ssrf", "redirect"):
        return bool(_FIXED_URL.match(value.text)) if value.shape is not None else False
    if sink.use == "path" and "path?" in value.safe:
        return False
    return False


def cleaned(value: Value) -> str:
    """How sure it is that a value does no harm, in words; `panel.features` reads them."""
    return "the value was certainly cleaned" if CERTAIN in value.safe else "the value seems to have been cleaned"


def origin(value: Value) -> str:
    """Who chooses a value, in words."""
    if not value.taint:
        return "a value"
    worst = max(value.taint, key=lambda t: (STRENGTH[t.kind], -t.line))
    who = {"web": "a web client's", "input": "the outside's", "param": "the caller's", "free": "an unchecked"}[
        worst.kind
    ]
    return f"{who} value {short(worst.what)!r} (line {worst.line})"


def short(name: str) -> str:
    """A name short enough for a sentence."""
    name = name.removeprefix("?.").replace("closure:", "").replace("class:", "").replace("self:", "self of ")
    return name if len(name) <= 60 else name[:57] + "..."


def commands(site: Site, state: State) -> None:
    """The rule for subprocess: what matters is whether a shell reads the command."""
    name = site.name
    if not _RUNNERS.match(name):
        return
    command = site.arg(0, "args", "cmd", "command")
    if command is None or SQL.search(command.text):
        return
    sink = Sink("shell", 78, "shell", "run commands", "critical", least="free")
    own = not name.startswith("subprocess.")
    if own:
        # A runner of commands that is not in this file: a text built from parts goes through a shell more often
        # than not, a list does not.
        shell = site.kwargs.get("shell")
        if re.search(r"cursor|conn|session|db|sql|engine|query", name.rpartition(".")[0].lower()):
            return
        if (command.seq is None and command.shape and HOLE in command.shape and " " in command.shape) or (
            shell is not None and shell.const is True and command.seq is None
        ):
            judge(sink, command, site=site, state=state)
        return
    shell = site.kwargs.get("shell")
    if shell is not None and not (shell.known and not shell.const):
        judge(sink, command if command.seq is None else mix(command.seq, shape=command.text), site=site, state=state)
        return
    if command.seq:
        if _SHELLS.match(command.seq[0].text) and len(command.seq) > 2:
            judge(
                sink,
                command.seq[-1] if len(command.seq) == 3 else mix(command.seq[2:], shape=HOLE),
                site=site,
                state=state,
            )
        elif command.seq[0].strength >= STRENGTH["input"]:
            judge(SINKS[2], command.seq[0], site=site, state=state)
        else:
            state.fine(78, site.node, why="no shell reads the command: its arguments are a list")
        return
    if command.taint and command.strength >= STRENGTH["web"]:
        judge(SINKS[2], command, site=site, state=state)
    elif shell is None or not shell.const:
        state.fine(78, site.node, why="no shell reads the command")


def sql(site: Site, state: State) -> None:
    """The rule for SQL: a statement must be a constant; values belong into its parameters."""
    query = site.method in _SQL_CALLS
    if not query and _SQL_QUIET.search(site.method):
        return
    candidates = [
        *site.args[:2],
        *[v for k, v in site.kwargs.items() if k in ("sql", "query", "statement", "where", "cmd")],
    ]
    for value in candidates:
        built = value.shape is not None and HOLE in value.shape
        if not SQL.search(value.text):
            if query and value is candidates[0] and _passed_on(site, value):
                message = f"{origin(value)} is run as a statement by {short(site.name)}()"
                state.hit("sql", 89, node=site.node, value=value, message=message, severity="high")
            continue
        if not built or value.is_safe("sql") or "sql?" in value.safe:
            if query and (value.fixed or value.taint):
                why = "the statement is constant" if value.fixed else cleaned(value)
                state.fine(89, site.node, why=why)
            continue
        only_name = bool(_NAME_HOLE.search(value.text)) and value.text.count(HOLE) == len(
            _NAME_HOLE.findall(value.text)
        )
        if only_name and value.strength < STRENGTH["param"]:
            continue  # A table's name out of a configuration.
        message = f"{origin(value)} is written into SQL that goes to {short(site.name)}(): pass it as a parameter"
        rule = "sql-name" if only_name else "sql"
        state.hit(rule, 89, node=site.node, value=value, message=message, severity="medium" if only_name else "high")
        return


def _passed_on(site: Site, value: Value) -> bool:
    if site.method in ("extra", "text", "sql", "query", "fetch", "prepare", "exec") or value.is_safe("sql"):
        return False
    if "(" in value.name and ANY not in value.safe and value.shape is None and value.strength < STRENGTH["web"]:
        return False
    return value.strength >= STRENGTH["input"] or (HOLE in (value.shape or "") and len(value.shape or "") > 12
                                                   and value.strength >= STRENGTH["param"])  # fmt: skip


def store(stored: Stored, state: State) -> None:
    """The rule for assignments: session entries, response headers, raw page content."""
    name, node, key, value = stored
    if re.match(r"(flask\.|bottle\.|quart\.)?session\[\]$|request\.session\[\]$", name):
        for part in (key, value):
            if part.strength >= STRENGTH["web"] and not part.is_safe("trust"):
                message = f"{origin(part)} is kept in the session, which later code trusts"
                state.hit("session", 501, node=node, value=part, message=message, severity="medium")
                return
        state.fine(501, node, why="what is kept in the session is not an outsider's")
    if name.endswith("headers[]") and key.const == "Location" and value.strength >= STRENGTH["input"]:
        sink = next(sink for sink in SINKS if sink.rule == "redirect")
        if not value.is_safe("redirect") and not _fixed(sink, value):
            message = f"{origin(value)} chooses where visitors are sent"
            state.hit("redirect", 601, node=node, value=value, message=message, severity="medium")
