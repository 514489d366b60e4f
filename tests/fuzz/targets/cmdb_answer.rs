#![no_main]
fuzz::target!("cmdb_answer");
