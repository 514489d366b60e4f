#![no_main]
fuzz::target!("filter");
