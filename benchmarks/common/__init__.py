"""What every benchmark shares: engines in child processes, workloads, experts, statistics, tables."""
