"""Metrics of lip sync: by SyncNet, by an expert that was trained here, and by the opening of the mouth alone."""
