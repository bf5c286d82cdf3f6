"""`expert-cli` for authors: new, package, keygen, sign, and whom this node trusts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.package.base import BaseDescription
    from expert_system.package.keys import SecretKey

Folder = Annotated[Path, typer.Argument(help="The expert's folder.")]
KeyFile = Annotated[Path | None, typer.Option("--key", help="The secret key; $EXPERT_HOME/publisher.key by default.")]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", help="Read the passphrase from here.")]
AllowUnproven = Annotated[bool, typer.Option("--allow-unproven", help="No gain over the base is shown; recorded.")]

trust_app = typer.Typer(help="The keys that this node believes.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
    app.command("new")(new)
    app.command("package")(package)
    app.command("keygen")(keygen)
    app.command("sign")(sign)
    trust_app.command("add")(trust_add)
    trust_app.command("list")(trust_list)
    trust_app.command("revoke")(trust_revoke)
    app.add_typer(trust_app, name="trust")


def new(
    name: Annotated[str, typer.Argument(help="The expert's name; sql means expert-sql.")],
    folder: Annotated[Path | None, typer.Argument(help="Where; ./NAME by default.")] = None,
    *,
    publisher: Annotated[str, typer.Option(help="Who will sign it.")],
    description: Annotated[str, typer.Option(help="One sentence on what it does.")] = "Say what this expert does.",
    category: Annotated[str, typer.Option(help="format, language, tech, domain or task.")] = "task",
    base: Annotated[str, typer.Option(help="The base to train for: a folder or a name.")] = "smollm2-135m-instruct",
) -> None:
    """Start an expert's repository from the template."""
    from expert_system.domain import Category, expert_name
    from expert_system.errors import InvalidRequest
    from expert_system.package.base import describe_base
    from expert_system.package.resolve_base import resolve_base
    from expert_system.package.scaffold import new_expert

    if category not in set(Category):
        raise InvalidRequest("--category", f"{category!r} is none of {', '.join(Category)}")
    found = describe_base(resolve_base(base, _home()))
    place = folder or Path(expert_name(name))
    new_expert(name, place, found, publisher=publisher, category=Category(category), description=description)
    typer.echo(str(place))
    note("next: write routing.examples in manifest.json, then `expert-cli dataset` and `expert-cli train`")


def package(
    folder: Folder = Path(),
    *,
    out: Annotated[Path, typer.Option(help="The folder for the archive.")] = Path(),
    allow_unproven: AllowUnproven = False,
    as_json: Json = False,
) -> None:
    """Check an expert and write NAME-X.Y.Z.expert: same tree, same bytes."""
    from expert_system.package.archive import SUFFIX, pack
    from expert_system.package.check import check_package, check_proven
    from expert_system.package.files import SIGNATURE_FILE, list_folder
    from expert_system.package.manifest import read_manifest
    from expert_system.package.statement import hash_file, hash_files

    entries = list_folder(folder)
    manifest = read_manifest(folder)
    check_package(folder, manifest, hash_files(folder, entries), _bases())
    if not allow_unproven:
        check_proven(folder, manifest)
    target = out / f"{manifest.name}-{manifest.version}{SUFFIX}"
    pack(folder, target)
    signed = any(entry.path == SIGNATURE_FILE for entry in entries)
    if as_json:
        result({"path": str(target), "sha256": hash_file(target), "signed": signed})
        return
    typer.echo(str(target))
    if not signed:
        note("it is unsigned, so nobody can install it; run `expert-cli sign` first")


def keygen(
    file: Annotated[Path | None, typer.Argument(help="$EXPERT_HOME/publisher.key by default.")] = None,
    *,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Ask for a passphrase.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make a signing key: the seed with mode 0600, the public half beside it as .pub."""
    from expert_system.package.keys import SecretKey, write_key

    secret = passphrase_file.read_text(encoding="utf-8").strip() if passphrase_file else None
    if passphrase and secret is None:
        secret = typer.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    key = SecretKey.generate()
    place = file or _home() / "publisher.key"
    public = write_key(key, place, secret)
    if as_json:
        result({"keyid": key.public.keyid, "public": key.public.public, "key": str(place), "public_key": str(public)})
        return
    typer.echo(key.public.keyid)
    note(f"the secret is in {place}: keep a copy offline, never commit it; hand out {public}")


def sign(
    folder: Folder = Path(),
    *,
    key: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    allow_unproven: AllowUnproven = False,
    as_json: Json = False,
) -> None:
    """Check an expert's folder and write its signature.json; then commit, tag vX.Y.Z and push."""
    from expert_system.package.manifest import read_manifest
    from expert_system.package.signing import sign_folder

    secret = secret_key(key or _home() / "publisher.key", passphrase_file)
    digest = sign_folder(folder, secret, allow_unproven=allow_unproven, bases=_bases())
    manifest = read_manifest(folder)
    if as_json:
        keyid = secret.public.keyid
        result({"name": manifest.name, "version": manifest.version, "digest": digest, "keyid": keyid})
        return
    typer.echo(f"signed {manifest.name}@{manifest.version} sha256:{digest}")
    note(f"next: git add -A && git commit && git tag -a v{manifest.version} && git push --follow-tags")


def trust_add(
    file: Annotated[Path, typer.Argument(help="The publisher's .pub file.")],
    *,
    publisher: Annotated[str, typer.Option(help="Whose key it is.")],
    names: Annotated[list[str] | None, typer.Option("--names", help="Patterns of names it may sign.")] = None,
    expires: Annotated[str | None, typer.Option(help="Until when, as 2027-01-31T00:00:00Z.")] = None,
) -> None:
    """Believe a publisher's key from now on."""
    from expert_system.marketplace.trust import add_key
    from expert_system.package.keys import read_public_key

    key = read_public_key(file)
    scope = names or ["expert-*"]
    add_key(_home() / "trust.json", key, publisher=publisher, names=scope, expires_at=expires)
    note(f"key {key.keyid[:12]} may sign {', '.join(scope)} of {publisher}")


def trust_list(*, as_json: Json = False) -> None:
    """List every key this node knows, the project's own and revoked ones included."""
    from expert_system.marketplace.trust import read_trust

    trust = read_trust(_home() / "trust.json")
    revoked = {entry.keyid: entry for entry in trust.revoked}
    rows = [
        {
            **key.model_dump(mode="json"),
            "revoked_at": revoked[key.keyid].revoked_at if key.keyid in revoked else None,
        }
        for key in trust.keys
    ]
    if as_json:
        result(rows)
        return
    table(
        ["key", "publisher", "may sign", "until"],
        [
            [
                row["keyid"][:12],
                row["publisher"],
                ", ".join(row["names"]),
                f"revoked {row['revoked_at']}" if row["revoked_at"] else row["expires_at"] or "further notice",
            ]
            for row in rows
        ],
    )


def trust_revoke(
    keyid: Annotated[str, typer.Argument(help="The key's id, or its beginning.")],
    *,
    reason: Annotated[str, typer.Option(help="Shown whenever the key is refused.")],
) -> None:
    """Believe a key no longer, for ever; what it signed and is installed fails `verify`."""
    from expert_system.cli.store import open_store
    from expert_system.marketplace.trust import revoke_key

    revocation = revoke_key(_home() / "trust.json", keyid, reason)
    note(f"key {revocation.keyid[:12]} is revoked")
    with open_store() as store:
        signed = [record for record in store.records() if record.keyid == revocation.keyid]
    for record in signed:
        note(
            f"{record.name}@{record.version} was signed by it and is still installed: `expert-cli uninstall {record.name}`"
        )


def secret_key(file: Path, passphrase_file: Path | None = None) -> SecretKey:
    """Read a key, asking for its passphrase when it needs one."""
    from expert_system.package.keys import is_encrypted, read_key

    secret = passphrase_file.read_text(encoding="utf-8").strip() if passphrase_file else None
    if secret is None and file.is_file() and is_encrypted(file):
        secret = typer.prompt(f"passphrase of {file.name}", hide_input=True, err=True)
    return read_key(file, secret)


def _home() -> Path:
    from expert_system import config

    return config.read().config.home


def _bases() -> list[BaseDescription]:
    from expert_system.marketplace.home import Home

    return Home(_home()).installed_bases()
