"""Protobuf to domain values and back, over gRPC; no rule of the system lives here."""
