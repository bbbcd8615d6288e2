"""How the files that describe a team or services are read: ``opening.py`` is the file, ``values.py`` what stands in it.

``faults.py`` collects what is wrong with it, each with its line (``lines.py``).
"""
