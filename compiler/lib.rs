//! wasmtime, as the wheel has it, and for every machine.
pub use wasmtime_c_api::*;
