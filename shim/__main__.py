"""`python -m shim NODE.json [ARGS]` runs a node; `python -m shim probe|compile|health ...` are its verbs."""

import gc
import importlib
import sys

VERBS = ("probe", "compile", "health")


def main() -> int:
    gc.disable()  # what is made first stays: to look for garbage in it would take a tenth of a start
    # Each verb loads what it needs and no more: a health check is to take milliseconds.
    match sys.argv[1:]:
        case [verb, *args] if verb in VERBS:
            found = importlib.import_module(f"shim.{verb}")
            gc.enable()
            return int(found.main(args))
        case [node, *args] if not node.startswith("-"):
            return int(importlib.import_module("shim.process").main(node, args))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
