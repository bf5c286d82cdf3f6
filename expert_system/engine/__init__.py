"""The engine: an expert set goes into a slot, tokens come out; all knowledge of vLLM lives below this folder."""
