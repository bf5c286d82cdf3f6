"""Git to store: fetch, verify, resolve, install, keep current; no unverified byte gets past it."""
