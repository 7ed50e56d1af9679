"""Answers judged aspect by aspect, each by its own judge, with error bars."""
