"""Runs programs that a model wrote, each in a confined process of its own. Start reading at runner.py.

This file imports nothing: the confined process loads this package too, and a program can reach what it loads.
"""
