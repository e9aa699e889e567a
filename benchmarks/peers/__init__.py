"""The peers: packages that do a part of what this provider does, in a Python environment of their own."""
