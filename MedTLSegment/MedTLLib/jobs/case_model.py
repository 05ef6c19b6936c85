"""Which model segments the cases of a list. No Qt.

The panel replaces a model that does not fit a volume by one that does. For a list that would be wrong: the next case
would get another model without the user's word.
"""


class CaseModel:
    """`name` is the model of the list, empty before the first case; `replaced` the one that the panel chose for the
    case that is open, because the model does not fit it."""

    def __init__(self) -> None:
        self.name = self.replaced = ""

    def leave(self, chosen: str) -> None:
        """The case is left with this model chosen: it is the list's, unless the panel chose it."""
        if self.name and chosen != self.replaced:
            self.name = chosen

    def enter(self, fitting: str) -> None:
        """A case is open; the panel chose this model for it. The first case decides about the list's."""
        self.name = self.name or fitting
        self.replaced = "" if fitting == self.name else fitting

    def use(self, chosen: str) -> None:
        """The user segmented a case with this model."""
        self.name, self.replaced = chosen, ""
