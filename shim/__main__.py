"""`python -m shim NODE.json [ARGS]` runs a node; `python -m shim probe|compile|health ...` are its verbs."""

import sys


def main() -> int:
    match sys.argv[1:]:
        case ["probe", *args]:
            from shim import probe

            return probe.main(args)
        case ["compile", *args]:
            from shim import compile

            return compile.main(args)
        case ["health", *args]:
            from shim import health

            return health.main(args)
        case [node, *args] if not node.startswith("-"):
            from shim import host

            return host.main(node, args)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
