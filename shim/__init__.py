"""The kernel in every container, and under `parigot-oci run`: runs the guests of one node, as `node.json` says."""
