"""Library calls that are wrong whoever chooses the values: weak hashes, open cookies, checks switched off."""

import re
from typing import Final

from quorate.apps.review.flow.calls import Site
from quorate.apps.review.flow.sinks import short
from quorate.apps.review.flow.state import State, Stored
from quorate.apps.review.flow.values import BLANK, STRENGTH, Unknown, Value

_WEAK_HASH: Final = re.compile(r"(?i)^(md2|md4|md5|sha|sha-?1|ripemd|ripemd160|mdc2)$")
_WEAK_CIPHER: Final = re.compile(
    r"(Crypto|Cryptodome)\.Cipher\.(DES3?|ARC[24]|Blowfish|XOR|CAST)\.new|pyDes\.\w+|"
    r"cryptography\.hazmat\.\w+(\.\w+)*\.algorithms\.(ARC4|Blowfish|IDEA|CAST5|SEED|TripleDES)"
)
_RANDOM: Final = re.compile(
    r"random\.(random|randint|randrange|choice|choices|sample|uniform|shuffle|getrandbits|triangular|betavariate|"
    r"gauss|normalvariate|randbytes|expovariate)$|random\.Random\(\)\.\w+$|(numpy|np)\.random\.(rand|randint|choice|random)$"
)
_HTTP: Final = re.compile(
    r"(requests|httpx)\.(get|post|put|delete|head|patch|options|request|Session\(\)\.\w+|Client|AsyncClient)$"
)
_PICKLES: Final = re.compile(
    r"(c?[pP]ickle|_pickle|dill|cloudpickle|marshal|jsonpickle|joblib)\.(load|loads|decode|Unpickler)$|"
    r"shelve\.open$|pandas\.read_pickle$|torch\.load$|shelve\.DbfilenameShelf$|dill\.load_session$"
)
_CLEARTEXT: Final = re.compile(r"(telnetlib\.Telnet|ftplib\.FTP|pyghmi\.ipmi\.command\.Command|smtplib\.SMTP_plain)$")
_REPEATS: Final = re.compile(r"\((?:[^()\\]|\\.)*[+*](?:[^()\\]|\\.)*\)[+*{]|\((?:\?:)?(\w)\|\1\)[+*]|\(\.\*\)[+*]")
_NOSHELL: Final = re.compile(r"os\.(exec|spawn)[lv]p?e?$|os\.startfile$")


def look(site: Site, state: State) -> None:
    """Objects rebuilt from bytes, code run from text, expressions that take for ever."""
    name, node = site.name, site.node
    if _PICKLES.match(name) or re.match(r"yaml\.(load|load_all|unsafe_load|full_load|unsafe_load_all)$", name):
        _deserialise(site, state)
    elif re.match(r"re\.(compile|match|search|fullmatch|findall|finditer|sub|split)$", name) and site.args:
        pattern = site.args[0].const
        if isinstance(pattern, str) and _REPEATS.search(pattern):
            message = "a repeated group with a repetition in it: some texts take exponential time to match"
            state.hit("slow-regex", 1333, node=node, value=BLANK, message=message, severity="medium")
    elif name in ("eval", "exec") and site.args and not (site.args[0].fixed or "code" in site.args[0].safe):
        state.hit("eval", 94, node=node, value=site.args[0], message=f"{name}() of a text that is made at run time",
                  severity="medium")  # fmt: skip
    elif _NOSHELL.match(name):
        state.hit(
            "spawn", 78, node=node, value=BLANK, message=f"{short(name)}() starts a program by hand", severity="low"
        )


def _deserialise(site: Site, state: State) -> None:
    name, node = site.name, site.node
    if name.startswith("yaml."):
        loader = site.arg(1, "Loader")
        if name.endswith(("full_load", "unsafe_load", "unsafe_load_all")):
            safe = False
        else:
            safe = loader is not None and ("Safe" in loader.name or "BaseLoader" in loader.name)
        if safe:
            state.fine(502, node, why="the loader builds plain data only")
            return
        if _first(site).fixed:
            state.fine(502, node, why="what is loaded is constant")
            return
        message = "yaml.load() without a safe loader builds any object that the text names"
        state.hit("yaml-load", 502, node=node, value=_first(site), message=message, severity="high")
        return
    if name == "torch.load" and (only := site.kwargs.get("weights_only")) is not None and only.const is True:
        return
    value = _first(site)
    if value.fixed:
        state.fine(502, node, why="what is loaded is constant")
        return
    message = f"{short(name)}() runs code that the data names"
    state.hit("unpickle", 502, node=node, value=value, message=message, severity="medium")


def _first(site: Site) -> Value:
    return site.args[0] if site.args else next(iter(site.kwargs.values()), BLANK)


def crypto(site: Site, state: State) -> None:
    """Weak hashes, ciphers, modes, keys and random numbers."""
    name, node = site.name, site.node
    if name.startswith("hashlib."):
        kind: object = name.removeprefix("hashlib.")
        if kind == "new":
            kind = site.args[0].const if site.args else "?"
        if isinstance(kind, str) and _WEAK_HASH.match(kind):
            declared = site.kwargs.get("usedforsecurity")
            if declared is None or declared.const is not False:
                message = f"{kind} is broken: use SHA-256, or for passwords scrypt or Argon2"
                state.hit("weak-hash", 328, node=node, value=BLANK, message=message, severity="medium")
                return
        if not isinstance(kind, Unknown):
            state.fine(328, node, why="the hash is not a broken one, or not used for security")
    elif re.match(r"(Crypto|Cryptodome)\.Hash\.(MD[245]|SHA|SHA1|RIPEMD)\.new$", name) or re.match(
        r"cryptography\..*hashes\.(MD5|SHA1)$", name
    ):
        state.hit("weak-hash", 328, node=node, value=BLANK, message="a broken hash", severity="medium")
    elif _WEAK_CIPHER.match(name):
        state.hit(
            "weak-cipher", 327, node=node, value=BLANK, message=f"{short(name)} is a broken cipher", severity="high"
        )
    elif re.search(r"modes\.ECB$", name) or any(
        a.name.endswith("MODE_ECB") for a in (*site.args, *site.kwargs.values())
    ):
        message = "ECB shows which blocks of the text are the same: use GCM"
        state.hit("weak-mode", 327, node=node, value=BLANK, message=message, severity="medium")
    elif re.search(r"(RSA|DSA)\.(generate|import)|(rsa|dsa)\.generate_private_key$", name):
        at = 1 if "rsa.generate_private_key" in name else 0
        size = site.arg(at, "bits", "key_size")
        if size is not None and isinstance(size.const, int) and size.const < 2048:
            message = f"a key of {size.const} bits can be broken"
            state.hit("short-key", 326, node=node, value=BLANK, message=message, severity="high")
    elif _RANDOM.match(name):
        message = f"{short(name)}() can be predicted: for anything secret use the secrets module"
        state.hit("weak-random", 330, node=node, value=BLANK, message=message, severity="low")
    elif name.startswith(("secrets.", "random.SystemRandom")):
        state.fine(330, node, why="the numbers come from the operating system")


def web(site: Site, state: State) -> None:
    """Cookies, tokens, debug servers, templates and markup."""
    name, node = site.name, site.node
    if site.method in ("set_cookie", "set_signed_cookie") and (len(site.args) + len(site.kwargs)) >= 2:
        _cookie(site, state)
    elif re.match(r"(jwt|jose\.jwt)\.decode$", name):
        options = site.kwargs.get("options", BLANK)
        checked = (options.items or {}).get("verify_signature", BLANK)
        verify = site.arg(2, "verify") or BLANK
        algorithms = site.kwargs.get("algorithms", BLANK)
        none = any(isinstance(a.const, str) and a.const.lower() == "none" for a in algorithms.seq or ())
        if checked.const is False or verify.const is False or none:
            state.hit(
                "jwt", 347, node=node, value=BLANK, message="the token's signature is not checked", severity="high"
            )
    elif site.method == "run" and (debug := site.kwargs.get("debug")) is not None and debug.const is True:
        message = "a debug server lets its visitors run code"
        state.hit("debug", 94, node=node, value=BLANK, message=message, severity="high")
    elif re.search(r"(jinja2\.)?(sandbox\.)?(Sandboxed)?Environment$", name):
        auto = site.kwargs.get("autoescape")
        if (auto is None and not site.open_kwargs and "jinja" in name) or (auto is not None and auto.const is False):
            message = "templates are filled in without escaping"
            state.hit("autoescape", 79, node=node, value=BLANK, message=message, severity="high")
    elif re.match(r"mako\.template\.Template$|.*TemplateLookup$", name) and "default_filters" not in site.kwargs:
        state.hit("autoescape", 79, node=node, value=BLANK, message="Mako escapes nothing by itself", severity="medium")
    elif re.search(r"(^|\.)(mark_safe|Markup|SafeString|SafeText|SafeUnicode|SafeBytes)$", name) and site.args:
        value = site.args[0]
        if not value.known and not value.is_safe("html"):
            message = "a text made at run time is declared to be safe HTML"
            state.hit("mark-safe", 79, node=node, value=value, message=message, severity="medium")
    for given in (site.kwargs.get("host"), *site.args[:1]):
        first = given.seq[0] if given is not None and given.seq else given
        if first is not None and first.const == "0.0.0.0" and site.method in ("run", "bind", "TCPServer", "HTTPServer"):
            state.hit("bind-all", 605, node=node, value=BLANK, message="listens on every interface", severity="low")


def _cookie(site: Site, state: State) -> None:
    secure, http_only = site.kwargs.get("secure"), site.kwargs.get("httponly")
    if site.open_kwargs:
        return
    if secure is None or (secure.known and not secure.const):
        message = "the cookie also travels over unencrypted connections: set secure=True"
        state.hit("cookie-secure", 614, node=site.node, value=BLANK, message=message, severity="medium")
    else:
        state.fine(614, site.node, why="the cookie travels over encrypted connections only")
        if http_only is None or (http_only.known and not http_only.const):
            message = "scripts in the page can read the cookie: set httponly=True"
            state.hit("cookie-http-only", 1004, node=site.node, value=BLANK, message=message, severity="low")


def transport(site: Site, state: State) -> None:
    """Certificates that are not checked, protocols without encryption, requests that wait for ever."""
    name, node = site.name, site.node
    verify = site.kwargs.get("verify")
    if (
        verify is not None
        and verify.const is False
        and re.match(r"(requests|httpx|aiohttp)\b|.*session|.*client", name, re.I)
    ):
        state.hit(
            "no-verify", 295, node=node, value=BLANK, message="the server's certificate is not checked", severity="high"
        )
    elif name in ("ssl._create_unverified_context", "ssl._create_stdlib_context"):
        state.hit("no-verify", 295, node=node, value=BLANK, message="no certificate is checked", severity="medium")
    elif site.method == "set_missing_host_key_policy" and any(
        re.search("AutoAddPolicy|WarningPolicy", arg.name) for arg in site.args
    ):
        state.hit("no-host-key", 295, node=node, value=BLANK, message="any host key is taken", severity="high")
    elif any(re.search(r"PROTOCOL_(SSLv[23]|TLSv1|TLSv1_1|SSLv23)$|SSLv[23]_METHOD|TLSv1_METHOD", value.name)
             for value in (*site.args, *site.kwargs.values())):  # fmt: skip
        state.hit("old-tls", 327, node=node, value=BLANK, message="a broken version of TLS", severity="high")
    elif name in ("ssl.wrap_socket",) and "ssl_version" not in site.kwargs:
        state.hit("old-tls", 327, node=node, value=BLANK, message="ssl.wrap_socket() checks nothing", severity="medium")
    elif _CLEARTEXT.match(name):
        state.hit(
            "cleartext", 319, node=node, value=BLANK, message=f"{short(name)} sends passwords in clear", severity="high"
        )
    elif re.match(r"(pysnmp\.hlapi\.)?(CommunityData|UsmUserData)$", name):
        state.hit(
            "snmp", 319, node=node, value=BLANK, message="SNMP without privacy sends all in clear", severity="medium"
        )
    elif _HTTP.match(name) and not site.open_kwargs:
        timeout = site.kwargs.get("timeout")
        if (timeout is None and name.startswith("requests.")) or (
            timeout is not None and timeout.known and timeout.const is None
        ):
            message = "a request without a timeout can wait for ever"
            state.hit("no-timeout", 400, node=node, value=BLANK, message=message, severity="low")


def files(site: Site, state: State) -> None:
    """Permissions, temporary files and archives."""
    name, node = site.name, site.node
    if name in ("os.chmod", "os.fchmod", "os.lchmod", "os.mkdir", "os.makedirs") or site.method == "chmod":
        mode = site.arg(0 if site.method == "chmod" and not name.startswith("os.") else 1, "mode")
        if mode is not None and isinstance(mode.const, int) and mode.const & 0o033 and "mkdir" not in name:
            message = f"mode {oct(mode.const)} lets others write or run it"
            state.hit("permissions", 732, node=node, value=BLANK, message=message, severity="medium")
    elif name in ("tempfile.mktemp", "os.tempnam", "os.tmpnam", "mktemp"):
        message = "somebody else may create the file first: use mkstemp() or NamedTemporaryFile()"
        state.hit("temporary", 377, node=node, value=BLANK, message=message, severity="medium")
    elif re.match(r"open$|io\.open$|os\.open$", name) and site.args and isinstance(site.args[0].const, str):
        if site.args[0].const.startswith(("/tmp/", "/var/tmp/", "/dev/shm/")):
            message = "a fixed name in a folder that everybody may write to"
            state.hit("temporary", 377, node=node, value=BLANK, message=message, severity="medium")
    elif site.method in ("extractall", "extract") and not site.kwargs.get("filter"):
        members = site.arg(1, "members")
        opener = re.search(r"tarfile|TarFile|zipfile|ZipFile|tar", name)
        if opener and (members is None or members.strength >= STRENGTH["web"]):
            message = "an archive may hold paths that lead out of the folder: give filter='data' or check its members"
            state.hit("extract", 22, node=node, value=BLANK, message=message, severity="high")
    elif name in ("huggingface_hub.snapshot_download", "huggingface_hub.hf_hub_download") or (
        site.method == "from_pretrained" and "revision" not in site.kwargs
    ):
        if "revision" not in site.kwargs:
            message = "what is downloaded is not pinned to a revision"
            state.hit("unpinned", 494, node=node, value=BLANK, message=message, severity="medium")
    elif name in ("xml.sax.make_parser",):
        return


def store(stored: Stored, state: State) -> None:
    """Assignments that switch a check off."""
    name, node, key, value = stored
    if name.endswith("check_hostname") and value.const is False:
        state.hit("no-verify", 295, node=node, value=BLANK, message="the host's name is not checked", severity="high")
    elif name.endswith(("verify_mode",)) and value.name.endswith("CERT_NONE"):
        state.hit("no-verify", 295, node=node, value=BLANK, message="no certificate is checked", severity="high")
    elif name.endswith(".verify") and value.const is False and "ession" in name:
        state.hit(
            "no-verify", 295, node=node, value=BLANK, message="the server's certificate is not checked", severity="high"
        )
    elif re.match(r".*config\[\]$", name) and isinstance(key.const, str) and value.const is False:
        if key.const in ("SESSION_COOKIE_SECURE", "WTF_CSRF_ENABLED", "SESSION_COOKIE_HTTPONLY"):
            cwe = 352 if "CSRF" in key.const else 614
            state.hit("config", cwe, node=node, value=BLANK, message=f"{key.const} is switched off", severity="medium")
    elif (
        re.search(r"(^|\.)\w*cookie\w*(\[\])+$|SimpleCookie\(\)", name, re.I)
        and key.const == "secure"
        and value.known
        and not value.const
    ):
        message = "the cookie also travels over unencrypted connections"
        state.hit("cookie-secure", 614, node=node, value=BLANK, message=message, severity="medium")
