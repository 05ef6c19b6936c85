"""Errors: one line that people can read."""

import pytest

from medtl.errors import MAX_MESSAGE, DeviceError, InputError, ModelError


@pytest.mark.parametrize("kind", [InputError, ModelError, DeviceError])
def test_a_message_that_quotes_a_long_text_keeps_its_beginning_and_its_advice(kind):
    text = str(kind(f"Expected a name, found {'x' * 3_000_000}. Choose another."))
    assert text.startswith("Expected a name, found xxx")
    assert text.endswith("xxx. Choose another.")
    assert len(text) < MAX_MESSAGE + 10


def test_an_ordinary_message_stays_and_so_does_the_option_that_resolves_it():
    error = InputError("x" * MAX_MESSAGE, option="force")
    assert (str(error), error.option) == ("x" * MAX_MESSAGE, "force")
