"""Expert System: composes small signed experts on one compact base model, per request, in one batch."""

__version__ = "0.1.0"
