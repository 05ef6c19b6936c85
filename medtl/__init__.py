"""MedTL: segment tumours on the user's own computer. `import medtl` loads no torch."""

__version__ = "0.1.0"
