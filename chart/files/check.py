"""The test of `helm test`: requests each URL of the command line until it is healthy, for up to a minute."""  # noqa: INP001

import json
import sys
import time
import urllib.request


def problem(url: str) -> str:
    """Return what is wrong, or an empty text."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  (the chart names http URLs)
            body = response.read()
    except OSError as error:
        return str(error)
    if "monitor/health" not in url:
        return ""
    parts = {name: part for name, part in json.loads(body).items() if isinstance(part, dict)}
    return ", ".join(
        f"{name} is {part['status']}" for name, part in parts.items() if part.get("status") not in ("healthy", None)
    )


end = time.monotonic() + 60
failed = 0
for url in sys.argv[1:]:
    while (found := problem(url)) and time.monotonic() < end:
        time.sleep(1)
    sys.stdout.write(f"{'failed' if found else 'ok    '}  {url}  {found}\n")
    failed += bool(found)
sys.exit(failed > 0)
