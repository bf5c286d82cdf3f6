"""Is the answer in the wanted language? Identified by py3langid.

Measures: language (decides). The case's data: {"language": "en", "among": ["en", "de", ...]}; `among` may be left out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError, PackageError
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from expert_system.training.cases import Case


def check(case: Case, answer: str) -> Verdict:
    """Right when the most likely language of the answer is the wanted one; an empty answer has none.

    Raises:
        PackageError: the case names no language, or one that the identifier does not know.
        ConfigError: py3langid is not installed.
    """
    wanted = case.data.get("language")
    among = case.data.get("among", [])
    if not isinstance(wanted, str) or not isinstance(among, list):
        raise PackageError('a case with the check "language" needs data {"language": "en"}')
    if not answer.strip():
        return Verdict(measures={"language": 0.0}, primary="language", problem="the answer is empty")
    found = str(_identifier(frozenset([wanted, *among]) if among else frozenset()).classify(answer)[0])
    right = found == wanted
    return Verdict(
        measures={"language": float(right)}, primary="language", problem="" if right else f"it is {found}, not {wanted}"
    )


@lru_cache(maxsize=8)
def _identifier(languages: frozenset[str]) -> Any:
    """An identifier of these languages; of all that it knows when there are none."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError("py3langid is not installed; install expert-system[router]") from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages:
        try:
            identifier.set_languages(sorted(languages))
        except ValueError as error:
            raise PackageError(f"the case names a language that is not known: {error}") from None
    return identifier
