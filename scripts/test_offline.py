"""Every command without a network, in a clean and in a hostile environment, and every connect that it makes.

    ./scripts/just test-offline

Real weights (SmolLM2-135M). Exit status 1 when anything reached another machine or looked up a name, or failed.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from localgif.models.fetch import pull
from localgif.models.find import places_for
from localgif.offline import weights_environment
from tests import offline_kit
from tests.offline_kit import Traced, localgif
from tests.test_environment import HOSTILE

SMALL = ("--metric-calls", "2", "--samples", "1", "--fresh", "1", "--minutes", "1")

#: Starts the server, asks it as a tool of the user would, stops it.
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
    """Run them all; the later ones use what the first made."""
    runs = [
        localgif(folder, environment, "models", "check"),
        localgif(folder, environment, "optimize", *SMALL, "--name", "grounded"),
        localgif(folder, environment, "optimize", "--reflection", "plain", *SMALL, "--name", "plain"),
        localgif(folder, environment, "optimize", "--offline", *SMALL, "--name", "offline"),
        localgif(folder, environment, "draw", "a red ball", "-o", "ball.gif", "--run", "grounded", "--json"),
        localgif(folder, environment, "report", "grounded"),
        *(
            localgif(folder, environment, "export", "grounded", "--to", form)
            for form in ("md", "modelfile", "llm", "promptfoo", "python")
        ),
        localgif(folder, environment, "show", "grounded", "--json"),
        localgif(folder, environment, "runs"),
        localgif(folder, environment, "sandbox", "check"),
        localgif(folder, environment, "models", "list"),
        offline_kit.traced(folder, environment, "serve, asked once", sys.executable, "-W", "ignore", "-c", SERVE),
    ]
    helped = localgif(folder, environment, "--help")
    if re.search(r"^\W*doctor\b", helped.stdout, re.MULTILINE):
        runs.append(localgif(folder, environment, "doctor", "--offline"))
    return runs


def acceptable(run: Traced) -> bool:
    """Whether it ended as it should: a model this small may draw nothing, and a doctor may find something."""
    if run.command.startswith("draw"):
        return run.status == 0 or (run.status == 1 and json.loads(run.stdout)["file"] is None)
    return run.status == 0 or (run.command.startswith("doctor") and run.status == 3)


def main() -> int:
    why = offline_kit.why_not()
    if why:
        print(f"error: {why}", file=sys.stderr)
        return 3
    places = places_for(*weights_environment())
    pull("smollm2:135m", places)
    failed = False
    for name, extra in (("a clean environment", {}), ("a hostile environment", HOSTILE)):
        with tempfile.TemporaryDirectory(prefix="localgif-offline-") as made:
            folder = Path(made)
            settings = offline_kit.hostile(folder, extra) if extra else {}
            runs = commands(folder, offline_kit.home(folder, places.cache.parent, settings))
        print(f"\nin {name}{f': {len(extra)} variables and a .env' if extra else ''}")
        for run in runs:
            print(f"  {run.line()}")
            if not acceptable(run):
                failed = True
                print(f"    FAILED\n{run.stderr}")
            if "nothing left this machine" in run.stderr:
                failed = True
                print(f"    somebody tried:\n{run.stderr}")
        places_reached = [place for run in runs for place in run.reached]
        print(f"  all that was reached, {len(places_reached)} times:")
        for line in offline_kit.summary(places_reached):
            print(f"  {line}")
        leaks = offline_kit.leaks(runs)
        failed = failed or bool(leaks)
        for leak in leaks:
            print(f"  LEAK {leak}")
    print("\nFAILED" if failed else "\nnothing left this machine")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
