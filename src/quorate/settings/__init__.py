"""`quorate.toml`: its tables, and how it is read."""

from quorate.settings.base import KINDS, LOCAL, QUOTE, RESERVED
from quorate.settings.loading import api_key, check_settings, load_settings, resolve
from quorate.settings.serving import KeyTable, OutputTable, ServiceTable, UpstreamTable
from quorate.settings.tables import CheckTable, Company, ModelTable, Settings

__all__ = [
    "KINDS",
    "LOCAL",
    "QUOTE",
    "RESERVED",
    "CheckTable",
    "Company",
    "KeyTable",
    "ModelTable",
    "OutputTable",
    "ServiceTable",
    "Settings",
    "UpstreamTable",
    "api_key",
    "check_settings",
    "load_settings",
    "resolve",
]
