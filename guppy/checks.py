"""What is odd in a file of rows, though it can be read: repeats, rows longer than the context, one prompt's answers.

`guppy.rows.read_rows` refuses what cannot be learned from; this tells what is worth a look before a training.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from guppy.grammar import CHARACTERS_PER_TOKEN, CONTEXT, Conversation
from guppy.rows import numbered_rows

# Of the rows, so many may say the same before it is worth a word.
REPEATED = 0.01


def check_file(path: str | Path, context: int = CONTEXT) -> list[str]:
    """What a file's owner may want to mend, one sentence each, with file, line (or row) and how.

    Args:
        context: tokens that a row may have before it is cut into pieces; characters are counted for it, since there is
            no tokenizer yet.

    Raises:
        GuppyError: as `read_rows`.
    """
    rows = numbered_rows(Path(path))
    if len(rows) < 2:
        return []
    faults = []
    counts = Counter(row.text for _, row in rows)
    repeated = len(rows) - len(counts)
    if repeated > REPEATED * len(rows):
        first = next(place for place, row in rows if counts[row.text] > 1)
        faults.append(
            f"{path}, {first}: this row and others stand in the file again, {repeated:,} rows in all; delete the "
            "repeats, from which nothing new is learned"
        )
    long = [place for place, row in rows if len(row.text) > context * CHARACTERS_PER_TOKEN * 1.5]
    if long:
        faults.append(
            f"{path}, {long[0]}: this row is longer than the context of {context} tokens will hold, and so are "
            f"{len(long) - 1:,} others; they are learned in pieces, so shorten them or choose a longer context"
        )
    replies = Counter(row.output for _, row in rows if isinstance(row, Conversation))
    if replies and replies.most_common(1)[0][1] > max(10, 0.2 * len(rows)):
        reply, times = replies.most_common(1)[0]
        first = next(place for place, row in rows if isinstance(row, Conversation) and row.output == reply)
        faults.append(
            f"{path}, {first}: {times:,} of {len(rows):,} rows have this reply, so the model will say little else; "
            "write more different ones"
        )
    return faults
