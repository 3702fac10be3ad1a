//! A service in Rust, with nothing but `schemas/abi.md` at hand: it answers in capitals, and errors for an empty request.

use std::slice;

#[link(wasm_import_module = "parigot")]
extern "C" {
    fn export(name: *const u8, len: usize) -> i32;
    fn bind(service: i32, name: *const u8, len: usize, id: i32) -> i32;
    fn launch() -> i32;
    fn serve();
    fn answer(call: i32, status: i32, ptr: *const u8, len: usize) -> i32;
}

const INVALID_ARGUMENT: i32 = 3;

fn main() {
    let (service, method) = ("demo.rust.ShoutService", "Shout");
    unsafe {
        let index = export(service.as_ptr(), service.len());
        assert!(index >= 0 && bind(index, method.as_ptr(), method.len(), 1) >= 0);
        assert!(launch() >= 0);
        serve();
    }
}

/// The request is handed over in memory that is this guest's from then on.
#[no_mangle]
extern "C" fn parigot_alloc(len: usize) -> *mut u8 {
    Box::leak(vec![0; len].into_boxed_slice()).as_mut_ptr()
}

#[no_mangle]
extern "C" fn parigot_handle(call: i32, _service: i32, _method: i32, request: *mut u8, len: usize) {
    let text = if len == 0 {
        Vec::new()
    } else {
        unsafe { Box::from_raw(slice::from_raw_parts_mut(request, len)) }.to_ascii_uppercase()
    };
    let (status, reply) = if text.is_empty() { (INVALID_ARGUMENT, b"nothing to shout".to_vec()) } else { (0, text) };
    unsafe { answer(call, status, reply.as_ptr(), reply.len()) };
}
