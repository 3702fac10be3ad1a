"""parigot-oci: develop WebAssembly services like a monolith, deploy them like microservices."""

__version__ = "0.1.0"
