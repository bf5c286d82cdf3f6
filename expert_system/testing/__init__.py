"""Shipped fakes: a deterministic engine and a signed market on disk, for our tests and for those of callers."""
