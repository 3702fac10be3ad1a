// parigot.dev/go, which the guests import, comes with parigot-oci: `run` and `build` add it.
module vinyl

go 1.24
