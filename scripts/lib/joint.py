"""Write the joint cases of the official pairs from the experts' held-out cases.

experts/<one>/tests/cases.jsonl -> programs/joint.py -> experts/<one>/tests/joint/<other>.jsonl
"""

from __future__ import annotations

from pathlib import Path

from expert_system.training.cases import CASES_FILE, JOINT_FOLDER, read_cases, write_cases
from expert_system.training.programs.joint import PAIRS, joint_cases

EXPERTS = Path(__file__).resolve().parents[2] / "experts"


def write_joint(experts: Path, out: Path) -> list[Path]:
    """Write every pair's file below `out`, whose folders are named as those of `experts`."""
    written = []
    for pair, (source, _) in PAIRS.items():
        other = next(name for name in pair if name != source)
        target = out / source / JOINT_FOLDER / f"{other}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_cases(joint_cases(pair, read_cases(experts / source / CASES_FILE).cases), target)
        written.append(target)
    return written


if __name__ == "__main__":
    for file in write_joint(EXPERTS, EXPERTS):
        print(file.relative_to(EXPERTS.parent))
