"""Sweeps on the command line: axes as text, a folder that survives a crash, and its reports."""
