"""`just check offline`: every command without a network, in a clean and in a hostile environment, with SmolLM2-135M.

The check lists every connection that the commands attempt. The exit code is 1 if a command failed, tried to reach
another machine, or looked up a name.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from localgif.models.fetch import pull
from localgif.models.find import places_for
from localgif.offline import weights_environment
from tests.support import tracing
from tests.support.tracing import HOSTILE, Traced, localgif

SMALL = ("--metric-calls", "2", "--samples", "1", "--fresh", "1", "--minutes", "1")

#: Starts the server, sends one request as a user's tool does, stops it.
SERVE = """
import json, re, signal, subprocess, sys, urllib.request
server = subprocess.Popen([sys.executable, "-m", "localgif", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
url = re.search(r"http://[0-9.:]+", server.stdout.readline())[0]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
body = {"model": "smollm2:135m", "prompt": "hi", "stream": False, "options": {"num_predict": 8}}
answer = json.load(opener.open(url + "/api/generate", json.dumps(body).encode()))
server.send_signal(signal.SIGINT)
server.communicate(timeout=20)
sys.exit(0 if answer["done"] else 1)
"""


def commands(folder: Path, environment: dict[str, str]) -> list[Traced]:
    """Run every command; the later ones use the first run."""
    return [
        localgif(folder, environment, "models", "check"),
        localgif(folder, environment, "optimize", *SMALL, "--name", "grounded"),
        localgif(folder, environment, "optimize", "--reflection", "plain", *SMALL, "--name", "plain"),
        localgif(folder, environment, "optimize", "--offline", *SMALL, "--name", "offline"),
        localgif(folder, environment, "draw", "a red ball", "grounded", "-o", "ball.gif", "--json"),
        localgif(folder, environment, "report", "grounded"),
        *(localgif(folder, environment, "export", "grounded", "--to", form) for form in ("llm", "promptfoo", "python")),
        localgif(folder, environment, "show", "grounded", "--json"),
        localgif(folder, environment, "runs"),
        localgif(folder, environment, "sandbox", "check"),
        localgif(folder, environment, "models", "list"),
        tracing.traced(folder, environment, "serve, one request", sys.executable, "-W", "ignore", "-c", SERVE),
        localgif(folder, environment, "doctor", "--offline"),
    ]


def acceptable(run: Traced) -> bool:
    """Whether it ended as it may: a model this small may draw nothing, and the doctor may find a problem."""
    if run.command.startswith("draw"):
        return run.status == 0 or (run.status == 1 and json.loads(run.stdout)["file"] is None)
    return run.status == 0 or (run.command.startswith("doctor") and run.status == 3)


def main() -> int:
    why = tracing.why_not()
    if why:
        print(f"error: {why}", file=sys.stderr)
        return 3
    places = places_for(*weights_environment())
    pull("smollm2:135m", places)
    failed = False
    for name, extra in (("a clean environment", {}), ("a hostile environment", HOSTILE)):
        with tempfile.TemporaryDirectory(prefix="localgif-offline-") as made:
            folder = Path(made)
            settings = tracing.hostile(folder, extra) if extra else {}
            runs = commands(folder, tracing.home(folder, places.cache.parent, settings))
        print(f"\nin {name}{f': {len(extra)} variables and a .env' if extra else ''}")
        for run in runs:
            print(f"  {run.line()}")
            if not acceptable(run) or "localgif blocked a connection" in run.stderr:  # the guard refused a connection
                failed = True
                print(f"    FAILED\n{run.stderr}")
        places_reached = [place for run in runs for place in run.reached]
        print(f"  {len(places_reached)} connections:", *tracing.summary(places_reached), sep="\n  ")
        for leak in tracing.leaks(runs):
            failed = True
            print(f"  LEAK {leak}")
    print("\nFAILED" if failed else "\nnothing left this machine")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
