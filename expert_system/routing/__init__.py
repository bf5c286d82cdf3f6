"""From a prompt to an expert set, on the CPU: prompt -> features -> scores -> plan."""
