"""Faces by SCRFD, and identities by ArcFace, through InsightFace."""
