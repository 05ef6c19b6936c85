# ruff: noqa: N802, N803
"""Slicer's Sample Data module, as far as ours register with it."""

from types import SimpleNamespace
from typing import Any

categories: dict[str, str] = {}
sources: list[SimpleNamespace] = []


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str | None = None) -> None:
        categories[category] = title or category

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        if uris is None:
            raise TypeError("Slicer's Sample Data expects `uris`, a string or a list.")
        sources.append(SimpleNamespace(**locals()))
