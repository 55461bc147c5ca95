"""The generation pipeline: one straight line from a `GenerationJob` to `GeneratedImage`s.

Importing this package imports no torch, so that a process which only validates or plans jobs
stays small; `engine.engine.Engine` is where the heavy libraries come in.
"""
