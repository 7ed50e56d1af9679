"""The front door as a service."""
