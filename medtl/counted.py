"""A number with its noun, in singular or plural."""


def counted(count: int, one: str, several: str) -> str:
    """The text for this number: `one` as it stands ("1 slice"), else `several` with its {count} ("{count} slices")."""
    return one if count == 1 else several.format(count=count)
