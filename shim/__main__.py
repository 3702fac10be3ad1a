"""`python -m shim NODE.json [ARGS]` runs a node; `python -m shim probe|compile|health ...` are its verbs."""

import importlib
import sys

VERBS = ("probe", "compile", "health")


def main() -> int:
    # Each verb loads what it needs and no more: a health check is to take milliseconds.
    match sys.argv[1:]:
        case [verb, *args] if verb in VERBS:
            return int(importlib.import_module(f"shim.{verb}").main(args))
        case [node, *args] if not node.startswith("-"):
            return int(importlib.import_module("shim.host").main(node, args))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
