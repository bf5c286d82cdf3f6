"""Messages of a shop's customers and what the shop's policy does with each: the program behind expert-retail.

    case of the policy -> sentence + frills -> message -> one line of JSON, checked against a schema

Promise: the policy below is all there is to know; what a case depends on (how long ago, shipped or not) is in the
message, and a product is copied from it to the letter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.programs.sources import ARTICLE, Source, fill, open_source, with_article

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import ProgramRecipe

OPENING_SHARE = 0.35
NOTE_SHARE = 0.3
CLOSING_SHARE = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy says about a case."""

    intent: str
    next_step: str


POLICY: Mapping[str, Decision] = {
    "order_status": Decision(intent="order_status", next_step="send_tracking"),
    "late_delivery": Decision(intent="late_delivery", next_step="trace_parcel"),
    "damaged.replace": Decision(intent="damaged", next_step="send_replacement"),
    "damaged.refund": Decision(intent="damaged", next_step="refund"),  # the customer asks for money
    "wrong_item": Decision(intent="wrong_item", next_step="collect_and_resend"),
    "missing_part": Decision(intent="missing_part", next_step="send_part"),
    "return.recent": Decision(intent="return", next_step="send_return_label"),  # bought at most 30 days ago
    "return.old": Decision(intent="return", next_step="decline_return"),
    "cancel.open": Decision(intent="cancel", next_step="cancel_order"),  # not shipped yet
    "cancel.shipped": Decision(intent="cancel", next_step="offer_return"),
    "exchange": Decision(intent="exchange", next_step="offer_exchange"),
    "warranty.young": Decision(intent="warranty", next_step="repair_free"),  # bought at most two years ago
    "warranty.aged": Decision(intent="warranty", next_step="offer_paid_repair"),
    "stock": Decision(intent="stock", next_step="check_stock"),
    "price": Decision(intent="price", next_step="quote_price"),
    "invoice": Decision(intent="invoice", next_step="send_invoice"),
    "address.open": Decision(intent="address_change", next_step="update_address"),  # not shipped yet
    "address.shipped": Decision(intent="address_change", next_step="contact_carrier"),
    "complaint": Decision(intent="complaint", next_step="escalate"),
    "other": Decision(intent="other", next_step="ask_details"),
}
"""Each case with its decision; what tells two cases of one intent apart stands beside it and in the README."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": sorted({decision.intent for decision in POLICY.values()})},
        "product": {"type": ["string", "null"]},
        "next_step": {"enum": sorted({decision.next_step for decision in POLICY.values()})},
    },
    "required": ["intent", "product", "next_step"],
    "additionalProperties": False,
}
"""JSON Schema of every answer."""


class Retail:
    """Writes messages with their decisions."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source = open_source(section, folder, part)
        while True:
            yield _row(source)


def _row(source: Source) -> Row:
    rng, data = source.rng, source.data
    case = rng.choice(list(POLICY))
    number, sentence = rng.choice(list(enumerate(data["messages"][case])))
    product = source.grammar.expand("{product}", rng) if "{product}" in sentence else None
    times = {name: source.grammar.expand(rng.choice(patterns), rng) for name, patterns in data["times"].items()}
    slots = {**times, "product": product or "", "a": ARTICLE}
    parts = [with_article(fill(sentence, slots))]
    if rng.random() < NOTE_SHARE:
        parts.insert(rng.randint(0, 1), source.grammar.expand(rng.choice(data["notes"]), rng))
    if rng.random() < OPENING_SHARE:
        parts.insert(0, rng.choice(data["openings"]))
    if rng.random() < CLOSING_SHARE:
        parts.append(source.grammar.expand(rng.choice(data["closings"]), rng))
    decision = POLICY[case]
    answer = {"intent": decision.intent, "product": product, "next_step": decision.next_step}
    return source.row(
        {"message": " ".join(parts)},
        json.dumps(answer),
        template=f"{source.part} {case} {number}",
        tags=(f"case:{case}", f"product:{'named' if product else 'none'}"),
        check={"kind": "json_schema"},
        schema=SCHEMA,
    )
