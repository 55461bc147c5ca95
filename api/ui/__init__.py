"""The page at /ui: a client of this service like any other, which happens to live in its process.

It is off unless the setting `ui` says otherwise, and only then Gradio is imported.
"""
