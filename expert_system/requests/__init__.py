"""A request before the engine sees it: limits of its fields, room for it, and its effective parameters."""
