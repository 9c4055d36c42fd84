"""Edges to other systems; empty until its issue is done."""
