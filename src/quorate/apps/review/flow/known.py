"""What is known about libraries: sources, cleaners and calls whose results nobody outside can choose. Data only."""

import re
from collections.abc import Mapping
from typing import Final

WEB_OBJECTS: Final = frozenset(
    ("flask.request", "bottle.request", "quart.request", "sanic.request", "pyramid.request", "web.ctx", "request")
)
WEB_PARAMS: Final = frozenset(("request", "req", "http_request", "websocket", "environ"))
NOT_WEB: Final = frozenset(
    ("method", "is_json", "endpoint", "blueprint", "is_secure", "content_length", "user", "session", "app", "state",
     "registry", "db", "auth", "accepted_renderer", "config", "locale", "site", "LANGUAGE_CODE", "is_ajax",
     "current_app", "environment", "csrf_processing_done", "user_agent", "tenant", "log", "logger")
)  # fmt: skip
"""Attributes of a request that its sender does not choose freely."""

HANDLER_DECORATORS: Final = re.compile(
    r"(^|\.)(route|get|post|put|delete|patch|view|view_config|expose|endpoint|api_view|websocket|head|options|"
    r"login_required|csrf_exempt|require_http_methods|require_POST|require_GET|before_request|errorhandler)$"
)
HANDLER_METHODS: Final = frozenset(
    ("get", "post", "put", "delete", "patch", "do_GET", "do_POST", "do_PUT", "do_HEAD", "do_DELETE", "on_get",
     "on_post", "on_put", "render_GET", "render_POST", "lambda_handler", "dispatch")
)  # fmt: skip

INPUT_CALLS: Final = frozenset(
    ("input", "raw_input", "sys.stdin.read", "sys.stdin.readline", "sys.stdin.readlines", "os.getenv",
     "os.environ.get", "getpass.getpass", "click.prompt", "sys.stdin.buffer.read")
)  # fmt: skip
INPUT_NAMES: Final = frozenset(("sys.argv", "os.environ", "sys.stdin", "os.environb"))
INPUT_METHODS: Final = frozenset(("recv", "recvfrom", "recv_json", "recv_string", "recv_multipart", "parse_args"))
WEB_CALLS: Final = frozenset(("cgi.FieldStorage", "web.input", "flask.request.get_json"))
WEB_METHODS: Final = frozenset(("get_argument", "get_arguments", "get_query_argument", "get_body_argument"))

NUMERIC: Final = frozenset(
    ("int", "float", "bool", "len", "ord", "abs", "round", "hash", "id", "complex", "uuid.UUID", "uuid.uuid4",
     "uuid.uuid1", "sum", "time.time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today",
     "ipaddress.ip_address", "ipaddress.IPv4Address", "ipaddress.IPv6Address", "ipaddress.ip_network",
     "decimal.Decimal", "isinstance", "issubclass", "callable", "hasattr", "range", "enumerate_count", "os.getpid",
     "datetime.datetime.strptime", "any", "all", "long", "datetime.datetime.fromtimestamp", "math.floor",
     "math.ceil", "datetime.date", "datetime.timedelta", "time.strftime", "secrets.token_hex", "secrets.token_urlsafe",
     "secrets.randbelow", "random.randint", "random.randrange", "random.random", "tempfile.mkdtemp",
     "tempfile.mkstemp", "tempfile.NamedTemporaryFile", "tempfile.gettempdir", "os.getcwd", "os.getuid",
     "datetime.datetime.today", "tempfile.TemporaryDirectory", "time.localtime")
)  # fmt: skip
"""Calls whose result is a number, a truth, a time or a name of our own making."""

NUMERIC_METHODS: Final = frozenset(
    ("hexdigest", "digest", "isdigit", "isalnum", "startswith", "endswith", "find", "index", "count", "timestamp",
     "isoformat", "is_valid", "exists", "is_file", "is_dir", "toordinal", "total_seconds", "isnumeric", "isalpha",
     "strftime", "fileno", "bit_length", "issubset", "poll", "wait")
)  # fmt: skip

CLEANERS: Final[Mapping[str, tuple[str, ...]]] = {
    "html.escape": ("html",),
    "cgi.escape": ("html",),
    "xml.sax.saxutils.escape": ("html", "xml"),
    "xml.sax.saxutils.quoteattr": ("html", "xml"),
    "flask.escape": ("html",),
    "markupsafe.escape": ("html",),
    "jinja2.escape": ("html",),
    "django.utils.html.escape": ("html",),
    "django.utils.html.conditional_escape": ("html",),
    "django.utils.html.format_html": ("html",),
    "django.utils.html.strip_tags": ("html",),
    "django.utils.html.escapejs": ("html",),
    "bleach.clean": ("html",),
    "nh3.clean": ("html",),
    "json.dumps": ("html", "log", "header"),
    "flask.jsonify": ("html",),
    "urllib.parse.quote": ("html", "url", "header", "log", "path?"),
    "urllib.parse.quote_plus": ("html", "url", "header", "log", "path"),
    "urllib.parse.urlencode": ("html", "url", "header", "log"),
    "urllib.quote": ("html", "url", "header"),
    "urllib.quote_plus": ("html", "url", "header", "path"),
    "urllib.urlencode": ("html", "url", "header"),
    "shlex.quote": ("shell",),
    "pipes.quote": ("shell",),
    "subprocess.list2cmdline": (),
    "os.path.basename": ("path",),
    "ntpath.basename": ("path",),
    "werkzeug.utils.secure_filename": ("path", "html", "header"),
    "werkzeug.secure_filename": ("path",),
    "werkzeug.utils.safe_join": ("path",),
    "werkzeug.security.safe_join": ("path",),
    "flask.safe_join": ("path",),
    "django.utils._os.safe_join": ("path",),
    "django.utils.text.get_valid_filename": ("path",),
    "django.utils.text.slugify": ("path", "html", "sql", "shell", "header", "log"),
    "ldap.filter.escape_filter_chars": ("ldap",),
    "ldap.dn.escape_dn_chars": ("ldap",),
    "ldap3.utils.conv.escape_filter_chars": ("ldap",),
    "ldap3.utils.dn.escape_rdn": ("ldap",),
    "psycopg2.sql.SQL": ("sql",),
    "psycopg2.sql.Identifier": ("sql",),
    "psycopg2.sql.Literal": ("sql",),
    "psycopg2.extensions.quote_ident": ("sql",),
    "psycopg.sql.SQL": ("sql",),
    "psycopg.sql.Identifier": ("sql",),
    "psycopg.sql.Literal": ("sql",),
    "MySQLdb.escape_string": ("sql",),
    "pymysql.escape_string": ("sql",),
    "pymysql.converters.escape_string": ("sql",),
    "re.escape": ("regex",),
    "repr": ("log", "header"),
    "ascii": ("log", "header"),
    "ast.literal_eval": ("code",),
    "hashlib.sha256": ("*",),
    "hashlib.md5": ("*",),
    "hashlib.sha1": ("*",),
    "base64.b32encode": ("html", "sql", "path"),
    "flask.url_for": ("redirect", "ssrf", "html"),
    "django.urls.reverse": ("redirect", "ssrf"),
    "django.core.urlresolvers.reverse": ("redirect", "ssrf"),
    "flask.render_template": ("html",),
    "django.shortcuts.render": ("html",),
    "jinja2.Markup.escape": ("html",),
}
"""By dotted name: what a call's result can be used for without danger."""

CLEANER_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "escape_string": ("sql",),
    "quote_ident": ("sql",),
    "literal": ("sql",),
    "escape": ("html", "sql"),
    "isoformat": ("*",),
    "relative_to": ("path",),
    "as_json": (),
}

CLEANER_NAMES: Final = (
    (
        re.compile(
            r"(html|xml|markup).*(escape|encode|quote|clean|strip|sanit)|(escape|strip|sanit|clean).*(html|xml|tag|js)|safe_md"
        ),
        ("html", "xpath"),
    ),
    (re.compile(r"(sh|shell|cmd|command|arg)\w*_?(quote|escape)|(quote|escape)\w*_?(sh|shell|cmd|arg)"), ("shell",)),
    (re.compile(r"(sql|ident|db)\w*_?(quote|escape)|(quote|escape)\w*_?(sql|ident|string|db)"), ("sql",)),
    (
        re.compile(
            r"(secure|safe|clean|sanit|valid|norm|check|within|absolut)\w*_?(file|path|name|key|join)|(file|path|join|name|key)\w*_?(safe|secure|valid|sanit|check)"
        ),
        ("path",),
    ),
    (re.compile(r"(safe|valid|allowed)\w*_?(url|redirect|host|target)"), ("redirect", "ssrf")),
    (re.compile(r"ldap\w*escape|escape\w*(ldap|filter|dn)"), ("ldap",)),
    (re.compile(r"^_?escape$"), ("html", "xpath", "xml")),
    (re.compile(r"(^|_)(sanit\w*|whitelist\w*|allowlist\w*|clean|cleaned|safe)(_|$)|^(get_?)?safe"), ("*",)),
)
"""By a function's last name, where nothing else is known of it: its author says what it is for."""

GUARD_NAMES: Final = (
    (
        re.compile(r"is_(safe|valid|allowed|local)_?(url|redirect|host|target)?|url_has_allowed_host"),
        ("redirect", "ssrf", "*"),
    ),
    (re.compile(r"is_relative_to|is_?subpath|is_?within|is_safe_path|path_allowed|allowed_file"), ("path",)),
    (re.compile(r"^(is_?)?valid|^validate|^check_?(name|key|path|file)|^assert_?(valid|safe)"), ("*",)),
)
"""Functions whose truth, or whose return at all, means that their argument was found right."""

DIGITS_ONLY: Final = frozenset(("isdigit", "isalnum", "isalpha", "isnumeric", "isdecimal", "isidentifier"))

LOGGING: Final = re.compile(r"(^|\.)(log|logger|logging|_log|LOG|_logger|LOGGER)(\.|$)")

EXITS: Final = frozenset(
    ("sys.exit", "exit", "quit", "os._exit", "os.abort", "flask.abort", "abort", "bottle.abort",
     "werkzeug.exceptions.abort", "self.fail", "parser.error", "pytest.fail")
)  # fmt: skip
