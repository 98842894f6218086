"""Where things are in a checkout of the project, which the kit is used from."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "chart"
CRDS = REPOSITORY / "crds"
EXAMPLES = REPOSITORY / "examples"
