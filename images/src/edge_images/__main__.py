"""`make images`: build all images, or some, and print their sizes."""

import argparse
import sys

from edge_images.build import TARGETS, build, size
from edge_images.commands import UnavailableError


def main() -> int:
    """Build all images, or some, and print their sizes."""
    parser = argparse.ArgumentParser(prog="make images", description=main.__doc__)
    parser.add_argument("--registry", default="", help="prefix of the images' names, e.g. registry.example.com/team")
    parser.add_argument("--tag", default="dev", help="tag of the images (default: dev)")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"some of {', '.join(TARGETS)}")
    asked = parser.parse_args()
    try:
        for name in build(asked.registry, asked.tag, asked.targets).values():
            print(f"{size(name):>8}  {name}")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
