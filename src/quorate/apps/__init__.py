"""Product features over the engine: the front door, and the guard around any handler."""
