"""One question per module; `python -m benchmarks.throughput` prints one table and writes one JSON file."""
