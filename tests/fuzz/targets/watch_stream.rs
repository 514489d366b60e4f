#![no_main]
fuzz::target!("watch_stream");
