"""Listeners: logs, spans, Prometheus text. Nothing in the core depends on them; without this folder it behaves the same."""
