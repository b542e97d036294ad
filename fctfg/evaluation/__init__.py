"""Measuring films of talking faces: one, a folder, several systems beside each other, and a benchmark that repeats.

    pairs --measuring--> rows, kept as they come --results--> means and intervals --tables, page--> what people read

Nothing is left out in silence: a film that cannot be measured has a row that says why, and every mean says of how many.
"""

from __future__ import annotations
