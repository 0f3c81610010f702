"""Giving what a store keeps to other tools: exports."""
