"""The endpoint: a server of the Ollama API, ours or another, and the two clients that ask it.

Other packages use `clients` (ask), `child` (start ours), `discover` (look at another), `server` (serve) and the facts
of `gguf`. The child processes load `server` and `llama`, so nothing is imported here.
"""
