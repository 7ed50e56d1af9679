"""What a panel of voters is worth, measured on labelled votes: each voter, their shared mistakes, the best rule."""

from quorate.apps.panel.agreement import Effective, Pair, Quality, effective, kappa, n_eff, pairs, phi, qualities
from quorate.apps.panel.choosing import Choice, Measured, Paired, choose, paired
from quorate.apps.panel.combining import Method, fit_log_odds, fit_logistic, methods
from quorate.apps.panel.table import Votes, read_votes

__all__ = [
    "Choice",
    "Effective",
    "Measured",
    "Method",
    "Pair",
    "Paired",
    "Quality",
    "Votes",
    "choose",
    "effective",
    "fit_log_odds",
    "fit_logistic",
    "kappa",
    "methods",
    "n_eff",
    "paired",
    "pairs",
    "phi",
    "qualities",
    "read_votes",
]
