"""Numbered SQL that makes this domain's tables."""
