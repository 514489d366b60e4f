//! Keeps the Pod records of the BlueKing CMDB equal to the Pods bcs-storage knows.

pub mod assignment;
pub mod cli;
pub mod cmdb;
pub mod config;
pub mod container_server;
pub mod convert;
pub mod coordination;
pub mod fleet;
pub mod front;
pub mod http;
pub mod inventory;
pub mod logging;
pub mod model;
pub mod observe;
pub mod plan;
pub mod sandbox;
pub mod service;
pub mod storage;
pub mod sync;
pub mod task_informer;
pub mod task_manager;
