"""What is checked of wheels before a file of them is written."""

import pytest

from medtl.installation.wheels import too_long

LONGEST = 259  # on Windows


PREFIX = r"C:\Users\someone\AppData\Local\slicer.org\3D Slicer 5.12.3\lib\Python\Lib\site-packages"
OF_TORCH_2_13 = "torch-2.13.0.dist-info/licenses/third_party/kineto/libkineto/third_party/dynolog/third_party/"
OF_TORCH_2_13 += "prometheus-cpp/3rdparty/civetweb/src/third_party/duktape-1.5.2/LICENSE.txt"


@pytest.mark.parametrize(
    ("prefix", "files", "length"),
    [
        (PREFIX, ["torch/__init__.py", OF_TORCH_2_13], 0),
        (PREFIX.replace("someone", "someone.with.a.name"), ["torch/__init__.py", OF_TORCH_2_13], 267),
        (r"C:\S", [OF_TORCH_2_13], 0),
        ("C:" + "x" * 90, ["a" * 166], 0),
        ("C:" + "x" * 90, ["a" * 167], 260),
        ("C:" + "x" * 90, ["torch-2.0.data/purelib/" + "a" * 166], 0),
        ("C:" + "x" * 90, ["a" * 155 + "/b"], 250),  # the folder is too long
        ("C:" + "x" * 90, ["a" * 154 + "/b"], 0),
        (PREFIX, [], 0),
    ],
)
def test_paths_that_windows_does_not_take_are_found_in_the_lists_of_the_wheels(
    prefix: str, files: list[str], length: int
) -> None:
    assert len(OF_TORCH_2_13) == 167
    assert len(too_long(files, prefix, LONGEST)) == length
