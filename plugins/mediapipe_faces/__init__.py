"""Faces, landmarks and action units by MediaPipe; the tables here do without it."""
