"""
How images come to be where a deployer finds them.

The seam: `Builder.build(index)` makes a node's images available and says under which name. Three implementations, `engine`
(loads the image of its platform into a Docker Engine), `layout` (writes an archive, no engine needed) and `registry` (uploads
what is missing there), which know nothing of each other, nor of this file.
"""

from typing import Protocol

from parigot_oci.image import BuiltImage, Index


class Builder(Protocol):
    def build(self, index: Index) -> BuiltImage: ...
