"""The HTTP service around the engine: wire protocol, task store, supervisor and compute child."""
