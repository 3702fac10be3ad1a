"""
How images come to be where a deployer finds them.

The seam: `Builder.build(image)` makes an image available and says under which name. Two implementations, `engine`
(loads it into a Docker Engine) and `layout` (writes an archive, no engine needed), which know nothing of each other,
nor of this file.
"""

from typing import Protocol

from parigot_oci.image import BuiltImage, Image


class Builder(Protocol):
    def build(self, image: Image) -> BuiltImage: ...
