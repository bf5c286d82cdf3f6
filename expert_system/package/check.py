"""Whether a package's parts agree with each other, whoever made it (formats.md 1.3, 1.9, 2.4).

    folder + manifest + hashes + known bases -> AdapterSummary, AdapterSummary, …

Promise: the same checks run when an expert is packaged, verified and installed with `--dev`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from expert_system.errors import PackageError
from expert_system.package.base import Architecture, BaseDescription
from expert_system.package.contents import check_contents
from expert_system.package.evidence import EVALUATION_FILE, MAX_EVALUATION_BYTES, Evaluation
from expert_system.package.manifest import Manifest
from expert_system.package.weights import WEIGHTS_FILE, AdapterSummary, read_adapter

ROUNDING = 0.001
"""Figures are rounded to four places."""


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


def check_proven(root: Path, manifest: Manifest) -> None:
    """Refuse an expert that shows no gain over its base, or whose report does not bear out what it shows (1.9).

    Args:
        root: the package's folder.
        manifest: its manifest.

    Raises:
        PackageError: a base without a measurement of all its weights, a gain that may be zero or is not the difference
            of its figures, or an evaluation.json that is missing or says something else.
    """
    measured = {evaluation.base: evaluation for evaluation in manifest.quality_metrics}
    for binding in manifest.base_models:
        evaluation = measured.get(binding.name)
        if evaluation is None:
            raise PackageError(
                f"quality_metrics has nothing for base {binding.name}; run `expert-cli validate`, or pass --allow-unproven"
            )
        unmeasured = {f"{adapter.path}/{WEIGHTS_FILE}" for adapter in binding.adapters} - evaluation.adapters.keys()
        if unmeasured:
            raise PackageError(
                f"quality_metrics for {binding.name} does not bind {', '.join(sorted(unmeasured))}; run `expert-cli validate`"
            )
        _check_gain(evaluation)
    _check_report(root, measured)


def _check_gain(evaluation: Evaluation) -> None:
    measure = next(measure for measure in evaluation.measures if measure.name == evaluation.primary)
    if measure.gain.low <= 0:
        raise PackageError(
            f"the gain in {measure.name!r} over {evaluation.base} is {measure.gain.value:g} "
            f"[{measure.gain.low:g}, {measure.gain.high:g}], not surely above zero; train it further, or pass --allow-unproven"
        )
    if abs(measure.expert.value - measure.base.value - measure.gain.value) > ROUNDING:
        raise PackageError(
            f"the gain in {measure.name!r} over {evaluation.base} is not the expert's value less the base's; "
            f"run `expert-cli validate`"
        )


def _check_report(root: Path, measured: Mapping[str, Evaluation]) -> None:
    """The report is of one of the bases, and its figures are the manifest's."""
    try:
        with (root / EVALUATION_FILE).open("rb") as stream:
            report = json.loads(stream.read(MAX_EVALUATION_BYTES))
    except (OSError, ValueError) as error:
        raise PackageError(f"{EVALUATION_FILE} cannot be read: {error}; run `expert-cli validate`") from None
    evaluation = measured.get(str(report.get("base"))) if isinstance(report, dict) else None
    stated = {} if evaluation is None else evaluation.model_dump(mode="json", exclude_none=True)
    if evaluation is None or any(report.get(key) != value for key, value in stated.items()):
        raise PackageError(f"{EVALUATION_FILE} does not say what quality_metrics says; run `expert-cli validate`")


def _check_evidence(manifest: Manifest, files: Mapping[str, str]) -> None:
    for evaluation in manifest.quality_metrics:
        for path, sha256 in evaluation.adapters.items():
            if files.get(path) != sha256:
                raise PackageError(
                    f"quality_metrics for {evaluation.base} measured another {path}; evaluate these weights again"
                )
