#![no_main]
fuzz::target!("zk_frames");
