"""Expert sets on the CPU: a slot is a list of references to shared weights, applied at their true ranks."""
