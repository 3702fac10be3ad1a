// parigot.dev/go, which the guests import, comes with parigot-oci.
module bench

go 1.24
