"""The house rules that a machine can check: import direction, light imports, one library one module, the tree."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "localgif"

#: Who may import whom: a package may import what stands in a later row, never a neighbour or an earlier row.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"sweep", "bundle"},
    {"doctor"},
    {"run", "report"},
    {"search"},
    {"agent"},
    {"endpoint", "sandbox", "gif", "store", "models"},
    {"tasks"},
    {"settings"},
    {"offline", "files", "significance"},
    {"records", "errors"},
]

#: A third-party library and the only modules that may import it.
FENCES = {
    "gepa": {"search/gepa.py"},
    "litellm": {"endpoint/clients.py"},
    "langchain_ollama": {"endpoint/clients.py"},
    "langgraph": {"agent/graph.py"},
    "xllamacpp": {"endpoint/llama.py"},
    "psutil": {"sandbox/", "endpoint/child.py", "run/checks.py"},
    "typer": {"cli/", "__main__.py"},
    "rich": {"cli/"},
    "packaging": {"run/checks.py", "bundle.py"},
    "dask": {"sweep/cluster.py", "sweep/worker.py"},
    "distributed": {"sweep/cluster.py", "sweep/worker.py"},
    "jinja2": {"report/"},
    "matplotlib": {"report/plots.py"},
    "scipy": {"gif/looks.py", "significance.py"},
    "tomllib": {"files.py", "models/toml.py"},
    "tomlkit": {"models/toml.py"},
}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


@functools.cache
def imports(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, except for type checking."""
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def layer(part: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if part in names)


def test_imports_point_downwards() -> None:
    for path in MODULES:
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imports(path):
            other = name.split(".")[1] if name.startswith("localgif.") else own
            if other not in ("__version__", own):
                assert layer(other) > layer(own), f"{path.relative_to(PACKAGE)} imports {name}"


def test_no_module_imports_itself_through_others() -> None:
    known = {f"localgif.{p.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}": p for p in MODULES}
    wanted = {
        name: {n for full in imports(p) for n in (full, full.rpartition(".")[0]) if n in known}
        for name, p in known.items()
    }
    while ready := {name for name, needs in wanted.items() if not needs & set(wanted)}:
        wanted = {name: needs for name, needs in wanted.items() if name not in ready}
    assert not wanted, f"these import each other: {sorted(wanted)}"


def test_each_library_has_its_module() -> None:
    for path in MODULES:
        where = path.relative_to(PACKAGE).as_posix()
        for name in {n.split(".")[0] for n in imports(path)} & set(FENCES):
            assert where.startswith(tuple(FENCES[name])), f"{where} imports {name}; only {sorted(FENCES[name])} may"


def test_only_one_module_reads_the_environment() -> None:
    reading = re.compile(r"\bos\.(environ|getenv)\b")
    readers = [p.relative_to(PACKAGE).as_posix() for p in MODULES if reading.search(p.read_text())]
    # A confined process changes its own, a warden hands on its own; run_pip.py is a script of its own.
    known = "offline sandbox/child sandbox/warden models/run_pip endpoint/child endpoint/gateway"
    assert set(readers) <= {f"{name}.py" for name in known.split()}


def loaded_by(code: str, name: str = "m.split('.')[0]") -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*{{{name} for m in sys.modules}})"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(run.stdout.split())


HEAVY = {
    "numpy", "PIL", "scipy", "matplotlib", "litellm", "langchain_core", "langgraph", "gepa", "aiohttp", "httpx",
    "xllamacpp", "psutil", "dask",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "may"),
    [
        ("import localgif", ""),
        # The options come from the table of settings, whose rows are its fields.
        ("import localgif.cli.app", "pydantic typer"),
        # Commands that ask no model import these too; the libraries inside them wait until they are used.
        ("import localgif.report.page, localgif.run.rescore", "pydantic typer psutil"),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str, may: str) -> None:
    assert not loaded_by(code) & ((HEAVY | {"pydantic", "typer"}) - {*may.split()})


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("sandbox.child", "sandbox.protocol"),
        ("sandbox.single", "sandbox.child sandbox.protocol"),
        (
            "sandbox.keeper",
            "sandbox.confine sandbox.protocol sandbox.syscalls sandbox.child sandbox.places sandbox.watch",
        ),
        ("gif.sheet", "gif.looks gif.measure"),
    ],
)
@pytest.mark.slow
def test_what_is_confined_loads_only_its_own_modules(module: str, ours: str) -> None:
    """A program can reach what its process has loaded, and every start of a keeper pays for it."""
    found = loaded_by(f"import localgif.{module}", "m")
    expected = {"errors", module.split(".")[0], module, *ours.split()} - (
        {"errors"} if module == "gif.sheet" else set()
    )
    assert {name.partition(".")[2] for name in found if name.startswith("localgif.")} == expected
    assert not found & ((HEAVY - {"numpy", "PIL", "scipy", "psutil"}) | {"pydantic", "typer"})


def test_contributing_lists_every_module_and_no_other() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = text.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    listed = re.findall(r"^  (\w+/\w+\.py|\w+\.py) +\S", block.split("localgif/\n")[1], re.MULTILINE)
    assert sorted(listed) == [p.relative_to(PACKAGE).as_posix() for p in MODULES]


def test_the_lock_covers_every_dependency_with_hashes_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    entry = r"^([a-z0-9][\w.-]*)==\S+(?: ;[^\\\n]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    packages = re.findall(entry, text, re.MULTILINE)
    pinned = {name for name, _ in packages}
    assert len(packages) == len(re.findall(r"^[a-z0-9][\w.-]*==", text, re.MULTILINE)), "a package without hashes"
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = (
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        project["dependency-groups"]["dev"],
        project["build-system"]["requires"],
    )
    for requirement in (each for group in groups for each in group):
        assert re.split(r"[<>=\[ ]", requirement)[0].lower() in pinned, requirement


# fmt: off
#: Names that only Linux has. Inside a function, something else must be there for other systems.
LINUX_ONLY = {
    "memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity", "unshare", "setns",
    "eventfd", "splice", "O_PATH", "O_TMPFILE", "CLONE_NEWNS", "SOCK_SEQPACKET",
    "SOCK_CLOEXEC", "AF_NETLINK", "AF_VSOCK", "TCP_KEEPIDLE", "F_SETPIPE_SZ", "prlimit",
    "RLIMIT_RTPRIO", "RLIMIT_MSGQUEUE", "epoll", "SIGRTMIN", "SIGPWR", "waitid",
}
# fmt: on


def loaded_names(node: ast.AST) -> set[str]:
    """Attributes and imported names that run when a module is loaded: everything outside of functions."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found |= {
                name for each in (child.args, *getattr(child, "decorator_list", ())) for name in loaded_names(each)
            }
            continue
        if isinstance(child, ast.Attribute):
            found.add(child.attr)
        if isinstance(child, ast.ImportFrom):
            found |= {alias.name for alias in child.names}
        found |= loaded_names(child)
    return found


def test_no_module_needs_linux_to_be_loaded() -> None:
    using = {str(path.relative_to(PACKAGE)): loaded_names(ast.parse(path.read_text())) & LINUX_ONLY for path in MODULES}
    assert {name: found for name, found in using.items() if found} == {}
    assert loaded_names(ast.parse("import os\nX = os.O_PATH\ndef f(a=os.memfd_create): os.unshare")) == {
        "O_PATH",
        "memfd_create",
    }
