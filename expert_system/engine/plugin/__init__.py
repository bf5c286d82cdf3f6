"""The vLLM plugin: what runs inside vLLM's processes so that a slot holds an expert set.

    LoRARequest -> source -> host file (front end, engine core) -> mapped expert -> slot -> layers (worker)

Promise: with the plugin loaded, bytes that were not hashed and checked never reach a worker, and a request
without experts computes exactly what the base computes. All names of vLLM's that we build on stand in `hooks.py`.
"""
