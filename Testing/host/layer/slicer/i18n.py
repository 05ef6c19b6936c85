"""Translation as Slicer's modules ask for it: the text stays as it is."""


def translate(context: str, text: str) -> str:
    return text


def tr(text: str) -> str:
    return text
