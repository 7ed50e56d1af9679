"""Every error Quorate raises, by whose fault it is.

::

    QuorateError
    ├── UsageError            yours: a call, a file or a setting is wrong
    │   └── ConfigError       quorate.toml; lists all of its mistakes at once
    ├── LimitExceeded         ours: no room left to run or to wait (HTTP 429)
    ├── ModelError            theirs: a model or the way to it broke
    │   ├── ModelUnavailable  no connection, a 5xx, a timeout on the way; worth another try
    │   │   └── RateLimited   the server said 429; `retry_after_s` says when
    │   ├── ModelRefused      a 4xx: asking again will not help
    │   ├── BadReply          the reply is not what was asked for
    │   └── StreamBroken      the stream ended before its end
    ├── StoreError            the database is away, or would not take it (HTTP 503)
    ├── BranchTimeout         one branch ran out of its own time
    ├── DeadlineExceeded      the whole run ran out of its time
    ├── ClientGone            whoever asked has left; nobody reads an answer any more
    └── RunFailed             a merge broke, or could not decide with what it got

`status_hint` is the HTTP status that a service would answer with.
A block by a check is not an error: it is a decision.
"""


class QuorateError(Exception):
    """Base of every error that Quorate raises on purpose."""

    status_hint = 500


class UsageError(QuorateError):
    """The caller asked for something that cannot be; the message says what can."""

    status_hint = 400


class ConfigError(UsageError):
    """A configuration has mistakes.

    Attributes:
        problems: one line for each mistake: where it is, what was found, what is allowed.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join([f"{source}: {len(problems)} mistake(s)", *(f"  {p}" for p in problems)]))


class LimitExceeded(QuorateError):
    """Too much is running and waiting already.

    Attributes:
        retry_after_s: seconds after which another try makes sense.
        which: names the limit: "calls" to a model, or of a service "queue", "rate", "concurrency" or "keys".
    """

    status_hint = 429

    def __init__(self, message: str, *, retry_after_s: float = 1.0, which: str = "calls") -> None:
        self.retry_after_s = retry_after_s
        self.which = which
        super().__init__(message)


class ModelError(QuorateError):
    """A model, or the way to it, broke."""

    status_hint = 502


class ModelUnavailable(ModelError):
    """No connection, a server error or a timeout on the way: another try may succeed.

    Attributes:
        retry_after_s: seconds the server asked to wait, or None.
    """

    status_hint = 503

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RateLimited(ModelUnavailable):
    """The server said 429."""

    status_hint = 429


class ModelRefused(ModelError):
    """The server refused the request itself; the same request will be refused again.

    Attributes:
        status: the HTTP status it gave.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class BadReply(ModelError):
    """The reply is not of the form that was asked for."""


class StreamBroken(ModelError):
    """A stream stopped before its end; what came before is a prefix, never a whole answer."""


class StoreError(QuorateError):
    """The store could not keep or give what was asked; nothing is acknowledged that was not kept."""

    status_hint = 503


class BranchTimeout(QuorateError):
    """A branch was cancelled because its own time was up."""

    status_hint = 504


class DeadlineExceeded(QuorateError):
    """A run was ended because its time was up."""

    status_hint = 504


class ClientGone(QuorateError):
    """Whoever asked has left: the work for them was cancelled, and nobody reads an answer any more."""

    status_hint = 499


class RunFailed(QuorateError):
    """A run ended without a usable decision: its merge broke, or was left undecided."""
