"""The tiny domain's migrations."""
