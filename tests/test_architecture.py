"""Who may import whom: the arrows of docs/ARCHITECTURE.md, read from the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "expert_system"

FOUNDATION = {"domain", "errors", "config", "telemetry", "package", "processor"}
"""What every room may stand on."""

MAY_IMPORT: dict[str, set[str]] = {
    # The foundation, from the ground up.
    "errors": set(),
    "domain": {"errors"},
    "config": {"domain", "errors"},
    "telemetry": {"domain", "errors", "config"},
    "package": {"domain", "errors", "config", "telemetry"},
    "extraction": {"domain", "errors"},
    "processor": set(),
    # The rooms, which never import each other: app hands each what it needs from the others as callables.
    "routing": FOUNDATION,
    "engine": FOUNDATION,
    "marketplace": FOUNDATION,
    "orchestrator": FOUNDATION,
    "training": FOUNDATION | {"extraction"},
    # The way of a request, from the inside out.
    "requests": FOUNDATION,
    "serving": FOUNDATION | {"requests", "routing", "engine"},
    "residents": FOUNDATION | {"serving", "requests", "engine"},
    "rpc": FOUNDATION | {"serving", "residents", "requests"},
    "app": FOUNDATION
    | {"rpc", "serving", "residents", "requests"}
    | {"routing", "engine", "marketplace", "orchestrator", "training"},
    "client": {"rpc", "domain", "errors"},
    "cli": FOUNDATION | {"app", "client", "extraction", "rpc", "marketplace", "routing", "training"},
    # Shipped fakes stand in for any room; nothing but tests imports them.
    "testing": FOUNDATION | {"routing", "engine", "marketplace", "orchestrator", "serving", "requests"},
}
"""Each module or folder of the package, and what it may import besides itself."""

HOME_OF: dict[str, tuple[str, ...]] = {
    "vllm": ("engine",),
    "torch": ("engine", "training"),
    "transformers": ("engine", "training"),
    "onnxruntime": ("routing/encoder.py",),
    "dulwich": ("marketplace/git.py",),
    "typer": ("cli",),
    "click": ("cli",),
    "pickle": (),
}
"""Libraries that only some places may import; where each is wrapped, its errors are translated too."""

TORCH_FREE = ("engine/sets.py", "engine/interface.py")
"""Files of the engine that a machine without torch can import."""

CLIENT_LIBRARIES = {
    *("expert_system", "grpc", "google", "typing_extensions"),
    *("grpc_health", "grpc_reflection", "grpc_tools", "grpc_status"),  # grpc itself imports these where it finds them
    "cython_runtime",  # what grpc's compiled half registers
}
"""All that importing client.py may load, besides the standard library."""


class Import(NamedTuple):
    """One import statement's target, where it stands, and whether importing the file executes it."""

    file: str
    line: int
    module: str
    on_import: bool

    @property
    def place(self) -> str:
        """For messages."""
        return f"expert_system/{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    """Read the imports of one file, those inside functions and under TYPE_CHECKING too."""
    file = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"expert_system/{file}:{node.lineno}: write imports in full"
            assert node.module is not None
            # `from expert_system import config` names a module, `from expert_system.config import read` does not.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(file, node.lineno, name, node not in lazy)


def all_imports() -> list[Import]:
    """Every import of the package, generated code aside."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if "pb" not in path.relative_to(PACKAGE).parts]
    return [found for path in files for found in imports_of(path)]


IMPORTS = all_imports()


def room_of(file: str) -> str:
    """Name the module or folder that a file belongs to."""
    return Path(file).parts[0].removesuffix(".py")


def is_in(file: str, places: tuple[str, ...]) -> bool:
    """Tell whether a file is one of these files or lies in one of these folders."""
    return any(file == place or file.startswith(f"{place}/") for place in places)


def test_every_room_is_on_the_plan() -> None:
    """A new module says here, and in docs/ARCHITECTURE.md, what it may import."""
    rooms = {
        room_of(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
    }

    assert set() == rooms - MAY_IMPORT.keys()


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_the_plan_allows(room: str) -> None:
    """design: cli -> app -> rpc -> serving -> {routing, engine}; the rooms never import each other."""
    allowed = MAY_IMPORT[room] | {room}

    wrong = [
        found.place
        for found in IMPORTS
        if room_of(found.file) == room
        and found.module.startswith("expert_system.")
        and found.module.split(".")[1] not in allowed | {"__version__"}
    ]

    assert [] == wrong


@pytest.mark.parametrize("library", sorted(HOME_OF))
def test_a_library_is_imported_only_where_it_is_wrapped(library: str) -> None:
    """design: vllm in engine/ only, onnxruntime in routing/encoder.py only, and so on."""
    wrong = [
        found.place
        for found in IMPORTS
        if found.module.split(".")[0] == library and not is_in(found.file, HOME_OF[library])
    ]

    assert [] == wrong


def test_the_arithmetic_of_sets_needs_no_torch() -> None:
    """design: engine/sets.py is torch-free; the tensor maths is in engine/plugin."""
    wrong = [
        found.place
        for found in IMPORTS
        if is_in(found.file, TORCH_FREE) and found.module.split(".")[0] in {"torch", "vllm", "transformers"}
    ]

    assert [] == wrong


def test_the_client_needs_only_grpc_and_protobuf() -> None:
    """design: client.py is what other services import, so it is light."""
    program = "import sys, expert_system.client; print(*sys.modules, sep='\\n')"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    foreign = {module.split(".")[0] for module in loaded.split()} - set(sys.stdlib_module_names)
    assert set() == {name for name in foreign if not name.startswith("_")} - CLIENT_LIBRARIES


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    """design: heavy imports happen inside the command that needs them, so `--help` answers at once."""
    heavy = {"vllm", "torch", "transformers", "onnxruntime", "peft", "trl", "datasets", "grpc", "dulwich"}

    wrong = [
        found.place
        for found in IMPORTS
        if room_of(found.file) == "cli" and found.on_import and found.module.split(".")[0] in heavy
    ]

    assert [] == wrong
