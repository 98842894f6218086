"""Asks each URL of the command line until it answers well, for a minute; what `helm test` runs."""  # noqa: INP001

import json
import sys
import time
import urllib.request


def trouble(url: str) -> str:
    """Return what is wrong, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  (the chart names http URLs)
            body = answer.read()
    except OSError as error:
        return str(error)
    if "monitor/health" not in url:
        return ""
    parts = {name: part for name, part in json.loads(body).items() if isinstance(part, dict)}
    return ", ".join(
        f"{name} is {part['status']}" for name, part in parts.items() if part.get("status") not in ("healthy", None)
    )


end = time.monotonic() + 60
bad = 0
for url in sys.argv[1:]:
    while (said := trouble(url)) and time.monotonic() < end:
        time.sleep(1)
    sys.stdout.write(f"{'bad ' if said else 'good'}  {url}  {said}\n")
    bad += bool(said)
sys.exit(bad > 0)
