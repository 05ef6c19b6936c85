"""Installs the engine's packages by pip, in a process of its own. Only the standard library and pip."""
