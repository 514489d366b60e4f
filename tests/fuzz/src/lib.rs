//! The programs of `cargo fuzz`: one per target of the package's `fuzz` module, which says what each
//! asserts. Here is only what they share: a limit on memory that counts every byte.

use cap::Cap;
use std::alloc::System;

/// Bytes a target may hold at any moment, all that libFuzzer keeps in Rust included.
pub const MEMORY: usize = 64 << 20;

/// An allocation beyond the limit fails, which ends the program as a crash of that input.
#[global_allocator]
static MEMORY_LIMIT: Cap<System> = Cap::new(System, MEMORY);

pub use bcs_bkcmdb_synchronizer::fuzz::run;
pub use libfuzzer_sys::fuzz_target;

/// The program of one target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::fuzz_target!(|data: &[u8]| $crate::run($name, data));
    };
}
