"""Tables on disk, and the message of a call that fails."""

import csv
import gzip
import io
import json
import lzma

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
# A quote, a comma and letters outside ASCII in every format.
ROWS = [
  {"text": 'He said "no", twice', "label": "0"},
  {"text": "naïve café ☕", "label": "1"},
  {"text": "", "label": "1"},
]


def written(rows, suffix):
  """Returns a table in the bytes of its format."""
  if suffix == ".jsonl":
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
  if suffix == ".parquet":
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
  lines = [list(rows[0]), *(row.values() for row in rows)]
  if suffix == ".tsv":
    return "".join("\t".join(line) + "\n" for line in lines).encode()
  buffer = io.StringIO(newline="")
  csv.writer(buffer).writerows(lines)
  return buffer.getvalue().encode()


def save(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  return path


def message(call, *args, **options):
  """Returns the one line that a call fails with."""
  with pytest.raises((ValueError, OSError)) as error:
    call(*args, **options)
  text = str(error.value)
  assert "\n" not in text
  return text
