"""The indexes that this node follows: add, remove, refresh all."""

from __future__ import annotations

from expert_system.errors import MarketplaceError
from expert_system.marketplace.home import Home
from expert_system.marketplace.index import Index, IndexCatalogue
from expert_system.marketplace.sources import FollowedIndex, read_sources, write_sources


def open_indexes(home: Home) -> list[Index]:
    """Every followed index."""
    return [
        Index(followed, mirrors=home.repositories, folder=home.indexes / followed.name)
        for followed in read_sources(home.sources).indexes
    ]


def follow(home: Home, followed: FollowedIndex) -> IndexCatalogue:
    """Follow an index from now on, once it has verified.

    Raises:
        MarketplaceError: it does not verify, or the name is taken.
    """
    sources = read_sources(home.sources)
    if any(index.name == followed.name for index in sources.indexes):
        raise MarketplaceError(f"an index named {followed.name} is followed already; remove it first")
    found = Index(followed, mirrors=home.repositories, folder=home.indexes / followed.name).refresh()
    write_sources(home.sources, sources.model_copy(update={"indexes": (*sources.indexes, followed)}))
    return found


def unfollow(home: Home, name: str) -> None:
    """Follow an index no longer; what it brought stays installed, and its metadata stays against rollback.

    Raises:
        MarketplaceError: no index has this name.
    """
    sources = read_sources(home.sources)
    kept = tuple(index for index in sources.indexes if index.name != name)
    if len(kept) == len(sources.indexes):
        raise MarketplaceError(f"no index named {name!r} is followed; see `expert-cli marketplace list`")
    write_sources(home.sources, sources.model_copy(update={"indexes": kept}))
