"""Checks run beside the answer; nothing leaves until they pass."""
