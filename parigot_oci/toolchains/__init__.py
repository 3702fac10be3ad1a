"""How a guest's .wasm is made, a module for each toolchain; `seam` says what each of them gives."""
