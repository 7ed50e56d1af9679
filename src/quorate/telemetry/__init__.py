"""What runs do, for those who watch the service: log lines, spans, metrics. None of it is waited for.

`traces` needs the extra `otel` and `metrics` the extra `service`; they are imported by who wants them.
"""

from quorate.telemetry.log import JsonLog, request_id

__all__ = ["JsonLog", "request_id"]
