"""A server of buckets in memory, for tests of checkpoints in buckets.

It has the part of https://cloud.google.com/storage/docs/json_api that gcsfs and
TensorStore use: objects with generations, uploads, preconditions.
"""

import base64
import hashlib
import http.server
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

_ROUTE = re.compile(
  r"/(?:upload/|download/)?storage/v1/b/(?P<bucket>[^/]+)"
  r"(?P<objects>/o(/(?P<name>[^/]+)"
  r"(/(?P<verb>rewriteTo|moveTo)(/b/[^/]+)?/o/(?P<to>[^/]+))?)?)?"
)


class Object(NamedTuple):
  data: bytes
  generation: int


class Answer(NamedTuple):
  status: int
  body: bytes = b""
  headers: tuple[tuple[str, str], ...] = ()


def say(body: dict) -> Answer:
  return Answer(200, json.dumps(body).encode())


def refuse(status: int, message: str) -> Answer:
  return say({"error": {"code": status, "message": message}})._replace(
    status=status
  )


class Server(http.server.ThreadingHTTPServer):
  """Buckets on a free port of this machine.

  Attributes:
    buckets: Objects by name, for each bucket.
    refusal: Called with the method and object name of each request. If it
      returns an answer, the request is not carried out.
  """

  daemon_threads = True
  request_queue_size = 64

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.buckets: dict[str, dict[str, Object]] = {}
    self.refusal: Callable[[str, str], Answer | None] = lambda *_: None
    self._lock = threading.Lock()
    self._generation = 0
    threading.Thread(target=self.serve_forever, daemon=True).start()

  @property
  def url(self) -> str:
    return f"http://127.0.0.1:{self.server_port}"

  def put(self, bucket: str, name: str, data: bytes) -> Object:
    self._generation += 1
    self.buckets[bucket][name] = Object(data, self._generation)
    return self.buckets[bucket][name]

  def handle_error(self, request, client_address):
    # Clients close connections that they no longer need.
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)

  def answer(self, method, path, query, headers, body) -> Answer:
    route = _ROUTE.fullmatch(path)
    if route is None:
      return refuse(501, f"{method} {path} is unknown to this server.")
    parts = {
      k: urllib.parse.unquote(v or "") for k, v in route.groupdict().items()
    }
    bucket, name = parts["bucket"], parts["name"]
    if method == "POST" and not parts["verb"]:
      name, body = _uploaded(query, headers, body)
    with self._lock:
      refused = self.refusal(method, name)
      if refused is not None:
        return refused
      if bucket not in self.buckets:
        return refuse(404, "The specified bucket does not exist.")
      objects = self.buckets[bucket]
      if not parts["objects"]:
        return say({"kind": "storage#bucket", "name": bucket})
      if method == "GET" and not name:
        return say(_listing(bucket, objects, query))
      there = objects.get(name)
      wanted = query.get("ifGenerationMatch")
      if wanted is not None and int(wanted) != (
        there.generation if there else 0
      ):
        return refuse(412, "At least one condition did not hold.")
      if method == "POST" and not parts["verb"]:
        if query["uploadType"] == "resumable" and "upload_id" not in query:
          session = (
            f"{self.url}{path}?{urllib.parse.urlencode(query)}&upload_id=1"
          )
          return Answer(200, headers=(("Location", session),))
        return say(_described(bucket, name, self.put(bucket, name, body)))
      if there is None:
        return refuse(404, f"No such object: {bucket}/{name}")
      if parts["verb"]:
        copied = self.put(bucket, parts["to"], there.data)
        if parts["verb"] == "moveTo":
          del objects[name]
          return say(_described(bucket, parts["to"], copied))
        return say({"kind": "storage#rewriteResponse", "done": True})
      if method == "DELETE":
        del objects[name]
        return Answer(204)
      if query.get("alt") != "media":
        return say(_described(bucket, name, there))
      return _read(there, query, headers)


def _described(bucket: str, name: str, there: Object) -> dict:
  return {
    "kind": "storage#object",
    "bucket": bucket,
    "name": name,
    "size": str(len(there.data)),
    "generation": str(there.generation),
    "metageneration": "1",
    "md5Hash": base64.b64encode(hashlib.md5(there.data).digest()).decode(),
    "timeCreated": "2026-01-01T00:00:00.000000Z",
    "updated": "2026-01-01T00:00:00.000000Z",
  }


def _listing(bucket: str, objects: dict[str, Object], query: dict) -> dict:
  prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
  items, prefixes = [], set()
  for name in sorted(objects):
    rest = name.removeprefix(prefix)
    outside = not name.startswith(prefix) or name < query.get("startOffset", "")
    if outside or name >= query.get("endOffset", "\U0010ffff"):
      continue
    if delimiter and delimiter in rest:
      prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
    else:
      items.append(_described(bucket, name, objects[name]))
  return {
    "kind": "storage#objects",
    "items": items,
    "prefixes": sorted(prefixes),
  }


def _uploaded(query: dict, headers, body: bytes) -> tuple[str, bytes]:
  """Returns the name and the contents of an upload."""
  if query["uploadType"] != "multipart":
    return query["name"], body
  (boundary,) = re.findall('boundary="?([^"]+)', headers["Content-Type"])
  _, metadata, contents, _ = body.split(f"--{boundary}".encode())
  metadata, contents = (
    re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1]
    for part in (metadata, contents)
  )
  return json.loads(metadata)["name"], re.sub(rb"\r?\n\Z", b"", contents)


def _read(there: Object, query: dict, headers) -> Answer:
  if query.get("ifGenerationNotMatch") == str(there.generation):
    return Answer(304)
  stamp = (
    ("x-goog-generation", str(there.generation)),
    ("ETag", f'"{there.generation}"'),
  )
  asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
  if asked is None:
    return Answer(200, there.data, stamp)
  first, last = asked.groups()
  size = len(there.data)
  start = int(first) if first else max(0, size - int(last))
  stop = min(size, int(last) + 1) if first and last else size
  if start >= size:
    return refuse(416, "The requested range cannot be satisfied.")
  content_range = ("Content-Range", f"bytes {start}-{stop - 1}/{size}")
  return Answer(206, there.data[start:stop], (*stamp, content_range))


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True

  def _handle(self):
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
    answer = self.server.answer(
      self.command, url.path, query, self.headers, body
    )
    self.send_response(answer.status)
    for name, value in answer.headers:
      self.send_header(name, value)
    if answer.status not in (204, 304):
      self.send_header("Content-Length", str(len(answer.body)))
    self.end_headers()
    self.wfile.write(answer.body)

  do_GET = do_POST = do_DELETE = _handle

  def log_message(self, *args):
    pass
