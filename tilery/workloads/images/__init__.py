"""Ordered operations on batches of pictures."""
