"""Translates prompts as customers write them and tables what comes out."""
