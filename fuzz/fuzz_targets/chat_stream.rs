//! See `slipway::generation::wire::fuzzing`, where it says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway::generation::wire::fuzzing::chat_stream(data));
