"""Agents that serve others: found by what they can do, asked, balanced, protected and replaced."""
