"""Benchmarks: `just bench NAME` measures one, `just bench all` writes the tables of docs/lab/benchmarks.md."""
