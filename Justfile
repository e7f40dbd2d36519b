# Each recipe runs one command inside .venv, which scripts/env makes when it is missing.
# On a machine without `just`: ./scripts/just RECIPE. Commands without a recipe: ./scripts/env localgif COMMAND.

set positional-arguments := true

# localgif runs in the user's folder, so that relative paths work, and its messages suggest commands in the form used here.
export LOCALGIF_CALLED := env("LOCALGIF_CALLED", "just")
localgif := "cd " + quote(invocation_directory()) + " && " + quote(justfile_directory() / "scripts" / "env") + " localgif"

[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Evolve the animator's system prompt with the models of models.toml (the main job).
[group('run')]
[no-exit-message]
optimize *args:
    @{{ localgif }} optimize "$@"

# Resume a run that stopped before its end: the newest one, or the named one.
[group('run')]
[no-exit-message]
resume *args:
    @{{ localgif }} resume "$@"

# Show a whole run in under a minute, with recorded answers in place of the models.
[group('run')]
[no-exit-message]
demo *args:
    @{{ localgif }} demo "$@"

# Follow a run from another terminal.
[group('run')]
[no-exit-message]
watch *args:
    @{{ localgif }} watch "$@"

# Run every combination of the settings in a sweep file, or list them with `--plan`.
[group('run')]
[no-exit-message]
sweep *args:
    @{{ localgif }} sweep "$@"

# Make a task from a sentence, list what ships, or check a task file: `just tasks new "a red ball on white" | list | check FILE`.
[group('run')]
[no-exit-message]
tasks *args:
    @{{ localgif }} tasks "$@"

# Check everything that a run needs, and say how to fix what is missing.
[group('run')]
[no-exit-message]
doctor *args:
    @{{ localgif }} doctor "$@"

# List, choose, download, check or remove models: `just models list | set ROLE NAME | pull NAME | check | size | rm NAME`.
[group('run')]
[no-exit-message]
models *args:
    @{{ localgif }} models "$@"

# Serve the embedded models over the Ollama API on this machine until Ctrl-C.
[group('run')]
[no-exit-message]
serve *args:
    @{{ localgif }} serve "$@"

# Run one program in the sandbox, or check what the sandbox confines here: `just sandbox run FILE.py | check`.
[group('run')]
[no-exit-message]
sandbox *args:
    @{{ localgif }} sandbox "$@"

# Collect everything that a machine without a network needs: `just bundle -o DIR`.
[group('run')]
[no-exit-message]
bundle *args:
    @{{ localgif }} bundle "$@"

# List the runs, newest first, or remove some: `just runs rm RUN`.
[group('results')]
[no-exit-message]
runs *args:
    @{{ localgif }} runs "$@"

# Show the table and the evolved prompt of a run.
[group('results')]
[no-exit-message]
show *args:
    @{{ localgif }} show "$@"

# Open the report of a run, or a live page while the run continues.
[group('results')]
[no-exit-message]
view *args:
    @{{ localgif }} view "$@"

# Compare several runs or the groups of a sweep, on the terminal and in compare.html.
[group('results')]
[no-exit-message]
compare *args:
    @{{ localgif }} compare "$@"

# Draw what a sentence asks for, and check the picture: `just draw "a green triangle spinning on black" -o x.gif`.
[group('results')]
[no-exit-message]
draw *args:
    @{{ localgif }} draw "$@"

# Print the best prompt of a run for another tool: `just export RUN --to md|modelfile|llm|promptfoo|python`.
[group('results')]
[no-exit-message]
export *args:
    @{{ localgif }} export "$@"

# Measure and score any GIF: `just score FILE.gif`.
[group('results')]
[no-exit-message]
score *args:
    @{{ localgif }} score "$@"

# Run the tests that need neither a model nor a browser nor other processes (one minute; arguments go to pytest).
[group('develop')]
[no-exit-message]
test-fast *args:
    @scripts/env scripts/test fast "$@"

# Run everything that a commit must pass: ruff, mypy and pytest (six minutes; arguments go to pytest).
[group('develop')]
[no-exit-message]
test *args:
    @scripts/env scripts/test commit "$@"

# Run all tests at every sandbox level, and all checks, which take an hour, 8 GB and other tools.
[group('develop')]
[no-exit-message]
test-all *args:
    @scripts/env scripts/test all "$@"

# Run one long check, or one against real tools: `just check vllm | exports | bundle | offline | kills | fuzz`.
[group('develop')]
[no-exit-message]
check *args:
    @scripts/env python -m scripts.check "$@"

# Reformat the code, fix what ruff can fix, and write the generated parts of docs/ again.
[group('develop')]
[no-exit-message]
fix:
    @scripts/env sh -c 'ruff check --fix && ruff format && python -m scripts.generate'

# Run one benchmark, or several into docs/lab/benchmarks.md: `just bench NAME [OPTIONS] | all [NAME...]`.
[group('benchmarks')]
[no-exit-message]
bench *args:
    @scripts/env python -m scripts.bench "$@"
