"""Whether a package's parts agree with each other, whoever made it (formats.md 1.3, 1.9, 2.4).

    folder + manifest + hashes + known bases -> AdapterSummary, AdapterSummary, …

Promise: the same checks run when an expert is packaged, verified and installed with `--dev`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from expert_system.errors import PackageError
from expert_system.package.base import Architecture, BaseDescription
from expert_system.package.contents import check_contents
from expert_system.package.manifest import Manifest
from expert_system.package.weights import WEIGHTS_FILE, AdapterSummary, read_adapter


def check_package(
    root: Path, manifest: Manifest, files: Mapping[str, str], bases: Iterable[BaseDescription]
) -> tuple[AdapterSummary, ...]:
    """Check manifest, adapters and evidence against each other, and shapes against every base that is installed.

    Args:
        root: the package's folder.
        manifest: its manifest.
        files: each path and its sha256.
        bases: the bases of this node; an adapter for another one is checked without them.

    Raises:
        AdapterRefused: an adapter cannot be served as it is.
        PackageError: the manifest speaks of a file or a digest that is not there.
    """
    known: dict[str, Architecture] = {base.binding: base.architecture for base in bases}
    summaries: list[AdapterSummary] = []
    for binding in manifest.base_models:
        for adapter in binding.adapters:
            if f"{adapter.path}/{WEIGHTS_FILE}" not in files:
                raise PackageError(f"manifest.json names {adapter.path}, which has no {WEIGHTS_FILE}")
            summaries.append(read_adapter(root, adapter, known.get(binding.base_digest)))
            check_contents(root, adapter)
    grammar = manifest.decoding.grammar
    if grammar is not None and grammar.path not in files:
        raise PackageError(f"manifest.json names the grammar {grammar.path}, which is not in the package")
    _check_evidence(manifest, files)
    return tuple(summaries)


def check_proven(manifest: Manifest) -> None:
    """Refuse an expert that shows no gain over its base (1.9).

    Raises:
        PackageError: a base without a measurement, or whose gain may be zero.
    """
    measured = {evaluation.base: evaluation for evaluation in manifest.quality_metrics}
    for binding in manifest.base_models:
        evaluation = measured.get(binding.name)
        if evaluation is None:
            raise PackageError(
                f"quality_metrics has nothing for base {binding.name}; run `expert-cli validate`, or pass --allow-unproven"
            )
        if evaluation.gain.low <= 0:
            raise PackageError(
                f"the gain in {evaluation.primary!r} over {binding.name} is {evaluation.gain.value:g} "
                f"[{evaluation.gain.low:g}, {evaluation.gain.high:g}], not surely above zero; train it further, or pass --allow-unproven"
            )


def _check_evidence(manifest: Manifest, files: Mapping[str, str]) -> None:
    for evaluation in manifest.quality_metrics:
        for path, sha256 in evaluation.adapters.items():
            if files.get(path) != sha256:
                raise PackageError(
                    f"quality_metrics for {evaluation.base} measured another {path}; evaluate these weights again"
                )
