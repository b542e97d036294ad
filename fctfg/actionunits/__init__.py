"""Action units from the files that other programs write. Needs neither torch nor any of these programs."""

from __future__ import annotations

from .attributes import Attributes, read_attributes
from .tables import find_table, read_action_units

__all__ = ["Attributes", "find_table", "read_action_units", "read_attributes"]
