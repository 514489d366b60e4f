#![no_main]
fuzz::target!("paas_answer");
