"""`python -m expert_system.cli` is `expert-cli`."""

from expert_system.cli import main

main()
