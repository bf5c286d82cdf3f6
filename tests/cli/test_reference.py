"""docs/CLI.md is what the commands say of themselves."""

from __future__ import annotations

from expert_system.cli.reference import PAGE, page


def test_the_page_is_up_to_date() -> None:
    """A changed option changes the page in the same commit."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m expert_system.cli.reference`"


def test_every_option_says_what_it_does_or_has_a_name_of_vllms() -> None:
    """Only sampling parameters and addresses, whose names are known everywhere, go without a sentence."""
    known = {"top-p", "top-k", "min-p", "repetition-penalty", "presence-penalty", "frequency-penalty", "seed", "host"}

    silent = [line for line in page().splitlines() if line.startswith("| `--") and line.endswith("|  |")]

    assert [] == [line for line in silent if line.split("`")[1].removeprefix("--") not in known]
