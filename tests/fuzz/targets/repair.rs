#![no_main]
fuzz::target!("repair");
