"""Runs programs that a model wrote, in a confined process of their own. Start reading at runner.py.

This file imports nothing: the confined process loads this package too, and what it loads the program can reach.
"""
