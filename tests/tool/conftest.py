"""What images stand on, for the tests that make some."""

import pytest

from parigot_oci import image, resources, wheels
from parigot_oci.base import Base, distroless
from parigot_oci.layers import Layer


@pytest.fixture(scope="module")
def base() -> Base:
    return distroless()


@pytest.fixture(scope="module")
def shim(base: Base) -> Layer:
    pins = wheels.resolved(base.version, base.architecture)
    return image.shim_layer(base, pins, resources.folder("shim"), resources.folder("schemas"))
