"""The front door over HTTP: OpenAI-compatible, held until allowed, each decision written down first."""
