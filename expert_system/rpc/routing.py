"""The router's part of a plan: domain <-> protobuf.

    Routing <-> pb.Routing

Promise: what went out and came back is equal to itself.
"""

from __future__ import annotations

from expert_system.domain import Category, Digest, RejectedExpert, RoutedExpert, Routing
from expert_system.rpc.convert import sampling_from_pb, sampling_to_pb
from expert_system.rpc.pb.expert.v1 import types_pb2

CATEGORIES = {
    Category.FORMAT: types_pb2.CATEGORY_FORMAT,
    Category.LANGUAGE: types_pb2.CATEGORY_LANGUAGE,
    Category.TECH: types_pb2.CATEGORY_TECH,
    Category.DOMAIN: types_pb2.CATEGORY_DOMAIN,
    Category.TASK: types_pb2.CATEGORY_TASK,
}
CATEGORIES_BACK = {number: category for category, number in CATEGORIES.items()}


def routing_to_pb(routing: Routing) -> types_pb2.Routing:
    """Write the router's part of a plan."""
    return types_pb2.Routing(
        experts=[
            types_pb2.RoutedExpert(
                name=expert.name,
                version=expert.version,
                digest=expert.digest,
                weight=expert.weight,
                score=expert.score,
                category=CATEGORIES[expert.category],
                load_order=expert.load_order,
                reasons=expert.reasons,
            )
            for expert in routing.experts
        ],
        abstained=routing.abstained,
        rejected=[
            types_pb2.RejectedExpert(name=expert.name, score=expert.score, reason=expert.reason)
            for expert in routing.rejected
        ],
        reasons=routing.reasons,
        parameters=dict(routing.parameters),
        suggested=sampling_to_pb(routing.suggested),
        router_version=routing.router_version,
        encoder_digest=routing.encoder_digest,
        catalogue_digest=routing.catalogue_digest,
    )


def routing_from_pb(routing: types_pb2.Routing) -> Routing:
    """Read the router's part of a plan."""
    return Routing(
        experts=tuple(
            RoutedExpert(
                name=expert.name,
                version=expert.version,
                digest=Digest(expert.digest),
                weight=expert.weight,
                score=expert.score,
                category=CATEGORIES_BACK[expert.category],
                load_order=expert.load_order,
                reasons=tuple(expert.reasons),
            )
            for expert in routing.experts
        ),
        rejected=tuple(
            RejectedExpert(name=expert.name, score=expert.score, reason=expert.reason) for expert in routing.rejected
        ),
        reasons=tuple(routing.reasons),
        parameters=dict(routing.parameters),
        suggested=sampling_from_pb(routing.suggested),
        router_version=routing.router_version,
        encoder_digest=routing.encoder_digest,
        catalogue_digest=routing.catalogue_digest,
    )
