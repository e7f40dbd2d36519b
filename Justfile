# Every recipe is one line: `scripts/env` makes the environment when it is missing, then runs the command.
# On a machine without `just`: ./scripts/just RECIPE

set positional-arguments := true

# List the recipes
[no-exit-message]
default:
    @just --justfile '{{ justfile() }}' --list --unsorted

# The main job: evolve the animator's system prompt with the models of models.toml
[no-exit-message]
optimize *args:
    @scripts/env localgif optimize "$@"

# Go on with a run that was interrupted, killed or cut off (the newest unfinished without a name)
[no-exit-message]
resume *args:
    @scripts/env localgif resume "$@"

# Many runs, every combination of some settings; the same command again goes on: `just sweep FILE.toml --plan`
[no-exit-message]
sweep *args:
    @scripts/env localgif sweep "$@"

# What may be concluded from several runs or from a sweep, on the terminal and as compare.html
[no-exit-message]
compare *args:
    @scripts/env localgif compare "$@"

# Show from another terminal what a run does
[no-exit-message]
watch *args:
    @scripts/env localgif watch "$@"

# Try everything that a run needs: models, window, speed, sandbox, memory; says what to do about the rest
[no-exit-message]
doctor *args:
    @scripts/env localgif doctor "$@"

# Serve the embedded models over the Ollama API on loopback until Ctrl-C
[no-exit-message]
serve *args:
    @scripts/env localgif serve "$@"

# The models and the weights behind them: `just models list | set ROLE NAME | pull NAME | check`
[no-exit-message]
models *args:
    @scripts/env localgif models "$@"

# Measure and score a GIF that anyone made: `just score FILE.gif --scorer article --json`
[no-exit-message]
score *args:
    @scripts/env localgif score "$@"

# One program in the sandbox, or what the sandbox holds here: `just sandbox run FILE.py -o out.gif | check`
[no-exit-message]
sandbox *args:
    @scripts/env localgif sandbox "$@"

# List the runs, newest first
[no-exit-message]
runs *args:
    @scripts/env localgif runs "$@"

# Show a run's table and its evolved prompt (the newest without a name)
[no-exit-message]
show *args:
    @scripts/env localgif show "$@"

# One GIF of any brief with a run's best prompt: `just draw "a paper boat on waves" -o boat.gif`
[no-exit-message]
draw *args:
    @scripts/env localgif draw "$@"

# A run's best prompt for other tools: `just export RUN --to md|modelfile|llm|promptfoo|python`
[no-exit-message]
export *args:
    @scripts/env localgif export "$@"

# Write a run's report.html again (the newest without a name)
[no-exit-message]
report *args:
    @scripts/env localgif report "$@"

# Everything that a machine without a network needs: `just bundle --out DIR`, there `sh DIR/install.sh TARGET`
[no-exit-message]
bundle *args:
    @scripts/env localgif bundle "$@"

# Everything a commit must pass: ruff, mypy, pytest (arguments go to pytest)
[no-exit-message]
test *args:
    @scripts/env scripts/test "$@"

# Every program of the sandbox's corpus at every level (the tests run at lower ones what the level decides)
[no-exit-message]
test-levels *args:
    @scripts/env python -m pytest tests/sandbox/test_corpus.py --every-level "$@"

# Kill runs at random moments and have each go on to the same end: `just test-kills 200`
[no-exit-message]
test-kills *args:
    @scripts/env python -m tests.search.kills "$@"

# Kill a worker of a Dask cluster at random moments, and have each sweep end as an undisturbed one: `just test-cluster 20`
[no-exit-message]
test-cluster *args:
    @scripts/env python -m tests.sweep.cluster_kills "$@"

# The exports read by the real llm and promptfoo, in folders of their own (1 GB; `just test-exports llm` for one)
[no-exit-message]
test-exports *args:
    @scripts/env python -m scripts.test_exports "$@"

# A real vLLM on the CPU behind our gateway, in an environment of its own (4 GB; arguments go to the script)
[no-exit-message]
test-vllm *args:
    @scripts/env python scripts/test_vllm.py "$@"

# Every command without a network, in a clean and in a hostile environment, with a list of every connect
[no-exit-message]
test-offline *args:
    @scripts/env python scripts/test_offline.py "$@"

# A real bundle with SmolLM2: made, tampered with, installed and run without a network (3 GB, some minutes)
[no-exit-message]
test-bundle *args:
    @scripts/env python scripts/test_bundle.py "$@"

# All benchmarks one after another, their tables written into docs/lab/benchmarks.md: `just bench score store` for two
[no-exit-message]
bench *args:
    @scripts/env python -m scripts.bench "$@"

# What the sandbox costs: cold, warm, per layer, against a plain subprocess (arguments go to the script)
[no-exit-message]
bench-sandbox *args:
    @scripts/env python -m scripts.bench_sandbox "$@"

# How long measuring and scoring a GIF takes, by its size (arguments go to the script)
[no-exit-message]
bench-score *args:
    @scripts/env python -m scripts.bench_score "$@"

# What the run folder costs: storing, going on with 1,000 samples, the report (arguments go to the script)
[no-exit-message]
bench-store *args:
    @scripts/env python -m scripts.bench_store "$@"

# What the embedded endpoint costs and gains against llama.cpp's bare server (arguments go to the script)
[no-exit-message]
bench-endpoint *args:
    @scripts/env python -m scripts.bench_endpoint "$@"

# localgif's way to a scored sample beside the article's, with the same weights (arguments go to the script)
[no-exit-message]
bench-loop *args:
    @scripts/env python -m scripts.bench_loop "$@"

# 64 requests at once, and 500 of which most leave at a random moment (arguments go to the script)
[no-exit-message]
storm-endpoint *args:
    @scripts/env python -m scripts.storm_endpoint "$@"

# How a sweep on a Dask cluster scales from 1 to 4 endpoints, and what it costs a cell (arguments go to the script)
[no-exit-message]
bench-cluster *args:
    @scripts/env python -m scripts.bench_cluster "$@"

# Write the table of docs/scoring.md from tests/corpus/gifs
[no-exit-message]
scoring-table:
    @scripts/env python scripts/scoring_table.py

# Write docs/models.schema.json, which editors read, from the records of models.toml
[no-exit-message]
models-schema:
    @scripts/env python scripts/models_schema.py

# Score a run's stored GIFs again: `just rescore RUN --scorer strict`
[no-exit-message]
rescore *args:
    @scripts/env localgif rescore "$@"

# Reformat, and fix what ruff can fix
[no-exit-message]
fix:
    @scripts/env sh -c 'ruff check --fix && ruff format'

# Fuzz what reads a stranger's GIF (walk, intake or measure), outside of the tests: `just fuzz-gif measure 120`
[no-exit-message]
fuzz-gif *args:
    @scripts/env scripts/fuzz "$@"

# Resolve pyproject.toml anew into requirements.lock (needs uv)
[no-exit-message]
lock:
    @scripts/lock
