"""The command line; app.py is the entry point. No other package imports it."""
