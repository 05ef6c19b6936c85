"""One button: the slices that the volume was taken in large beside the 3D view, and the user's layout again."""

from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError
from MedTLLib.mrml import views
from MedTLLib.mrml.layout import PlaneLayout, layout_node

from .form import enable


class LayoutPanel:
    """Lays the views out while its button is pressed and the module is open."""

    def __init__(self, ui: Any, results: Any) -> None:
        self.ui, self.results = ui, results
        self.layout = PlaneLayout()
        self._shown = ""  # the id of the volume
        ui.layoutButton.connect("toggled(bool)", self.onToggled)

    @property
    def volume(self) -> Any:
        return self.results.parameters.inputVolume if self.results.parameters else None

    def update(self) -> None:
        """Follow the volume, and the layout that the user chose elsewhere."""
        none = "" if self.volume else _("Choose a volume first.")
        reason = none if layout_node() else _("Slicer has no slice views here.")
        help = _("The slices that the volume was taken in, large, beside the 3D view. Released, your layout is back.")
        enable(self.ui.layoutButton, "" if self.ui.layoutButton.checked else reason, help)
        if self.ui.layoutButton.checked:
            if not self.layout.is_shown():
                self.exit()
            elif self.volume is not None and self.volume.GetID() != self._shown:
                self._show()

    def exit(self) -> None:
        """Another module is opened, or the scene is closed: the user's layout is back."""
        self.ui.layoutButton.checked = False

    def onToggled(self, wanted: bool) -> None:
        """Lay the views out, or as they were."""
        if not wanted:
            self.layout.leave()
            return
        self._show()

    def _show(self) -> None:
        self._shown = self.volume.GetID() if self.volume else ""
        try:
            name = self.layout.show(self.volume)
        except InputError as error:
            self.results.showMessage(str(error))
            self.exit()
            return
        qt.QTimer.singleShot(0, lambda: views.fit(name))  # when the view has its new size
