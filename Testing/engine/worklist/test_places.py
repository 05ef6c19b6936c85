"""Where the result of a case goes."""

from pathlib import Path

import pytest

from medtl.errors import InputError
from medtl.worklist.places import bids_name, is_bids, result_of

ROOT = Path("data/derivatives/medtl")


def test_beside_the_image_and_in_one_folder():
    image = Path("images/p1/flair.nii.gz")
    assert result_of("p1_flair", image, "beside", ROOT) == Path("images/p1/p1_flair.seg.nrrd")
    assert result_of("p1_flair", image, "folder", Path("results")) == Path("results/p1_flair.seg.nrrd")


def test_beside_a_dicom_folder_is_the_folder_above_it_unless_the_list_is_in_it():
    assert result_of("p_T1", Path("dicom/p"), "beside", Path("dicom")) == Path("dicom/p_T1.seg.nrrd")
    assert result_of("p_T1", Path("dicom/p"), "beside", Path("dicom/p/.")) == Path("dicom/p/p_T1.seg.nrrd")


@pytest.mark.parametrize(
    ("image", "result"),
    [
        ("data/sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01/anat/sub-01_desc-FLAIR_dseg.seg.nrrd"),
        (
            "data/sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii.gz",
            "sub-01/ses-2/anat/sub-01_ses-2_run-1_desc-T1w_dseg.seg.nrrd",
        ),
        ("anywhere/sub-7_ct.nii.gz", "sub-7/anat/sub-7_desc-ct_dseg.seg.nrrd"),
        ("data/sub-7/pet/sub-7_pet.nii.gz", "sub-7/pet/sub-7_desc-pet_dseg.seg.nrrd"),
    ],
)
def test_a_bids_image_has_its_result_among_the_derivatives(image, result):
    path = result_of("any", Path(image), "bids", ROOT)
    assert path == ROOT / result
    assert is_bids(path)


@pytest.mark.parametrize("name", ["flair.nii.gz", "sub-01.nii.gz", "sub-0 1_T1w.nii.gz", "patient_sub-01_T1w.nii.gz"])
def test_without_a_bids_name_there_is_no_bids_place(name):
    assert bids_name(Path(name)) is None
    with pytest.raises(InputError, match="Choose another place"):
        result_of("any", Path(name), "bids", ROOT)
