"""Files that people bring, read within bounds: text, CSV and Parquet.

A small file can claim to be a large one: gzip and Parquet's dictionaries pack a repeated text almost to nothing. So
gzip is unpacked up to a bound, and of a Parquet file first its metadata is added up, then what each batch of rows
would hold, before it is spread out.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guppy.errors import GuppyError

if TYPE_CHECKING:
    import pyarrow

LARGEST_FILE = 256 * 2**20
"""Bytes of text that are read of one file; a minute's training reads some 2 MB."""
MOST_ROWS = 5_000_000
# What a row needs one of, most telling first, and what it may have.
CONTENTS = (("messages",), ("input", "output"), ("text",))
CATEGORY = "category"
KINDS = "a .jsonl, .jsonl.gz, .csv, .parquet or .txt file"

_BATCH = 1024


def read_text(path: Path) -> str:
    """The text of a file, unpacked if it ends in .gz.

    Raises:
        GuppyError: it is missing, unreadable, too large, no whole gzip file, or no UTF-8 (with the line).
    """
    raw = _read_bytes(path)
    if len(raw) > LARGEST_FILE:
        raise GuppyError(f"{path} holds more than {LARGEST_FILE >> 20} MB; give a part of it")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise GuppyError(f"{path}, line 1: this is UTF-16; save the file as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise GuppyError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from None


def read_csv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a .csv file whose first line names the columns, each with its line, as in "line 3".

    Raises:
        GuppyError: as `read_text`, or the columns or a row are not what they should be.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise GuppyError(
                f"{path}, line {line}: this is not CSV ({error}); put quotes around the text and double those in it"
            ) from None
        if fields is None:
            return
        if header is None:
            header = [field.strip() for field in fields]
            _content(header, f"{path}, line {line}")
        elif fields and len(fields) != len(header):
            raise GuppyError(
                f"{path}, line {line}: there are {len(fields)} fields where the first line has {len(header)}; "
                "put quotes around texts with commas"
            )
        elif fields:
            yield f"line {line}", dict(zip(header, fields, strict=True))


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a .parquet file, each with its number, as in "row 3".

    Raises:
        GuppyError: it is missing or broken, it unpacks to too much, or its columns are not what they should be.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise GuppyError(f"there is no file {path}; give {KINDS}")
    try:
        with parquet.ParquetFile(path) as file:
            names = _check_parquet(file, path)
            columns = [file.metadata.schema.column(i) for i in range(file.metadata.num_columns)]
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        # Kept packed: a dictionary's texts are spread out only after they have been counted.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            yield from _batches(file, names, path)
    except (pyarrow.ArrowException, OSError, MemoryError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise GuppyError(f"{path} is not a whole Parquet file ({what}); copy or write it again") from None


def _batches(file: Any, names: list[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    size, number = 0, 0
    for batch in file.iter_batches(_BATCH, columns=names):
        size += sum(_size(column) for column in batch.columns)
        _check_size(size, path)
        try:
            records = batch.to_pylist()
        except UnicodeDecodeError:
            row = number + 1 + next(i for i in range(len(batch)) if not _is_utf8(batch.slice(i, 1)))
            raise GuppyError(f"{path}, row {row}: this is not UTF-8 text; write the file as UTF-8") from None
        for record in records:
            number += 1
            yield f"row {number}", record


def _is_utf8(row: pyarrow.RecordBatch) -> bool:
    try:
        row.to_pylist()
    except UnicodeDecodeError:
        return False
    return True


def _check_parquet(file: Any, path: Path) -> list[str]:
    """The columns to read, after a look at what the file says of itself."""
    metadata, schema = file.metadata, file.schema_arrow
    content = _content(schema.names, str(path))
    for name in content:
        kind = schema.field(name).type
        if not _is_text(kind) and not (name == "messages" and _is_list(kind)):
            raise GuppyError(f"{path}: column '{name}' holds {kind}, which is no text; write it as text")
    names = [*content, *([CATEGORY] if CATEGORY in schema.names else [])]
    if metadata.num_rows > MOST_ROWS:
        raise GuppyError(f"{path} has {metadata.num_rows:,} rows; give a file of up to {MOST_ROWS:,}")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    _check_size(
        sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] in names), path
    )
    return names


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


def _is_list(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind)


def _check_size(size: int, path: Path) -> None:
    if size > LARGEST_FILE:
        raise GuppyError(
            f"{path} unpacks to more than {LARGEST_FILE >> 20} MB of text; give a part of it, or split the file"
        )


def _size(column: pyarrow.Array) -> int:
    """Bytes of all texts in a column, each counted as often as it stands there."""
    import pyarrow
    from pyarrow import compute

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        lengths = compute.binary_length(column.dictionary).fill_null(0)
        return compute.sum(lengths.take(column.indices.drop_null())).as_py() or 0
    if _is_list(kind):
        return _size(column.flatten())
    if pyarrow.types.is_struct(kind):
        return sum(_size(part) for part in column.flatten())
    if _is_text(kind):
        return compute.sum(compute.binary_length(column)).as_py() or 0
    return 8 * len(column)


def _content(columns: Sequence[str], place: str) -> tuple[str, ...]:
    """The columns that hold what is said."""
    for wanted in CONTENTS:
        if all(name in columns for name in wanted):
            return wanted
    there = ", ".join(map(repr, columns[:8])) or "none"
    raise GuppyError(f"{place}: the columns are {there[:200]}; name them input and output, messages, or text")


def _read_bytes(path: Path) -> bytes:
    """The file's bytes, one more than may be read of a file that has more."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise GuppyError(f"there is no file {path}; give {KINDS}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise GuppyError(f"{path} is not a whole gzip file ({error}); copy it again") from None
    except OSError as error:
        raise GuppyError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
