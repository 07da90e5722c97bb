"""The driver and the hooks: the only rooms that wait."""
