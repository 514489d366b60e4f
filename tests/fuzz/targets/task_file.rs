#![no_main]
fuzz::target!("task_file");
