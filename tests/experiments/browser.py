"""A page as a headless browser shows it, where there is one."""

import json
import shutil
import subprocess

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# In the test's copy alone: what the page shows, where a process can read it.
_PROBE = """<script>
addEventListener("load", () => {
  const pictures = [...document.images].map((image) => image.naturalWidth);
  const wide = document.documentElement.scrollWidth > innerWidth;
  const probe = document.createElement("pre");
  probe.textContent = "PROBE" + JSON.stringify({pictures, wide}) + "PROBE";
  document.body.append(probe);
});
</script></body>"""


def opened(text, folder, width=1200):
  """Opens a page in an empty folder; the test is skipped without a browser.

  Returns the widths of its pictures as loaded, and whether it is too wide for
  the window.
  """
  browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
  if browser is None:
    pytest.skip(f"needs a browser: one of {', '.join(_BROWSERS)}.")
  path = folder / "report.html"
  path.write_text(text.replace("</body>", _PROBE), encoding="utf-8")
  done = subprocess.run(
    [
      browser,
      "--headless",
      "--no-sandbox",  # As root, in a container, there is none.
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
      f"--user-data-dir={folder / 'profile'}",
      f"--window-size={width},900",
      "--enable-logging=stderr",
      "--virtual-time-budget=5000",
      "--dump-dom",
      path.as_uri(),
    ],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  # Errors of the page: the browser's own have no such word.
  assert "CONSOLE" not in done.stderr, done.stderr
  return json.loads(done.stdout.split("PROBE")[-2])
