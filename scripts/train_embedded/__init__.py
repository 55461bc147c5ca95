"""Data, training and export of the embedded model. See README.md in this folder."""
