#![no_main]
fuzz::target!("point_read");
