"""Prepared folders and synthetic talking heads, as Clips."""
