"""Questions to the log: ``index`` finds records; ``questions``, ``scope``, ``unusual`` answer."""
