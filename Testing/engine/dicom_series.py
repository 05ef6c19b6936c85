"""Small DICOM files for tests."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

PIXELS = np.random.default_rng(0).integers(0, 1000, (4, 5)).astype(np.int16)


@dataclass(frozen=True)
class Slice:
    """One file: stored values, LPS position in mm, row and column cosines, spacing (between rows, columns)."""

    array: np.ndarray = field(default_factory=lambda: PIXELS)
    position: tuple[float, ...] | None = (0, 0, 0)
    axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    spacing: tuple[float, float] = (0.8, 0.7)
    uid: str = "1.2.3"
    description: str = "T1"
    kind: str = "MONOCHROME2"
    syntax: str = ExplicitVRLittleEndian
    extra: dict[str, Any] = field(default_factory=dict)


def series(count: int, step: float = 2.0, **values: Any) -> list[Slice]:
    """Axial slices `step` mm apart."""
    return [replace(Slice(**values), position=(0, 0, step * n)) for n in range(count)]


def write_slice(path: Path, item: Slice) -> Path:
    """Write the slice as a DICOM file."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = item.syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.SeriesDescription, data.Modality = item.uid, item.description, "MR"
    data.StudyInstanceUID, data.StudyDate, data.PatientID = "1.2", "20240229", "p"
    data.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in item.axes]
    data.PixelSpacing = [format_number_as_ds(float(v)) for v in item.spacing]
    if item.position is not None:
        data.ImagePositionPatient = [format_number_as_ds(float(v)) for v in item.position]
    data.Rows, data.Columns = item.array.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = item.array.shape[2] if item.array.ndim == 3 else 1, item.kind
    if item.array.ndim == 3:
        data.PlanarConfiguration = 0
    bits = 8 * item.array.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(item.array.dtype.kind == "i")
    for name, value in item.extra.items():
        setattr(data, name, value)
    raw = item.array.tobytes()
    raw += b"\0" * (len(raw) % 2)
    data.PixelData = encapsulate([raw]) if data.file_meta.TransferSyntaxUID.is_encapsulated else raw
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path
