"""The pattern that has a task planned, done, checked, reviewed and corrected: ``Orchestrator`` and its records."""
