"""Which licences a curation takes.

    >>> LicencePolicy.COMMERCIAL.refuses(Licence.UNKNOWN), LicencePolicy.KNOWN.refuses(Licence.UNKNOWN)
    (False, True)

Where it sits: asked by the selection of tasks and by the policies of rows; `core.example.licence` reads the spellings.
"""

from enum import StrEnum

from core.example.licence import Licence


class LicencePolicy(StrEnum):
    """Which licences are taken."""

    ALL = "all"
    """As the winner did."""
    COMMERCIAL = "commercial"
    """Everything but what bars commercial use; unknown is taken and counted."""
    KNOWN = "known"
    """Only what is recognised as open."""

    def refuses(self, licence: Licence) -> bool:
        """Whether a text under this licence is left out."""
        if self is LicencePolicy.ALL:
            return False
        return licence is Licence.NON_COMMERCIAL or (self is LicencePolicy.KNOWN and licence is Licence.UNKNOWN)
