//! The container server.

pub mod codes;
pub mod fields;
pub mod filter;
pub mod rules;
