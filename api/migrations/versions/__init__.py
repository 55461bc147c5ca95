"""The revisions, see `api.migrations`. None is changed once it has been released."""
