"""`just check NAME [ARGUMENTS]`: runs a check that is too long or too large for the tests.

vllm      our gateway in front of a real vLLM on the CPU, in an environment of its own (4 GB)
exports   exports read by the real llm and promptfoo, in folders of their own (1 GB)
bundle    makes a real bundle, tampers with it, installs and runs it without a network (3 GB)
offline   every command without a network, with a list of every connection
kills     kills runs at random moments; all must resume to the same end: `just check kills 200`
fuzz      mutated replies, programs, sentences, server events and GIFs, for some minutes: `just check fuzz 30`
"""

from __future__ import annotations

import runpy
import sys

MODULES = {
    "vllm": "scripts.check_vllm",
    "exports": "scripts.check_exports",
    "bundle": "scripts.check_bundle",
    "offline": "scripts.check_offline",
    "kills": "tests.support.kills",
    "fuzz": "tests.support.fuzz",
}

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(__doc__)
        sys.exit()
    if name not in MODULES:
        print(f"error: there is no check {name!r}; choose from {', '.join(MODULES)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    runpy.run_module(MODULES[name], run_name="__main__", alter_sys=True)
