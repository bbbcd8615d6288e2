"""Suites, fakes and faults for those who build on Shoal."""
