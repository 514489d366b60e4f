//! The topology as the CMDB tells it (protocol.md 3), cached.
//!
//! One fetch per business at a time. Who comes while it runs goes on with what was known before;
//! only who knows nothing waits, and for a moment who needs a module that is not known: it may have
//! just been made, so the CMDB is asked before its minute is over. What is known outlives a CMDB that cannot be asked, which is left
//! in peace for a few seconds then.

use super::business::Node;
use super::{Business, Caller, TopologyError};
use crate::config::{BaseUrl, TlsFiles};
use crate::container_server::codes;
use crate::http::{self, Client, Method, Options, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is believed.
const AGE: Duration = Duration::from_secs(60);
/// How long the CMDB is not asked again about a business after it failed, nor for the sake of a module
/// that is not known.
const PAUSE: Duration = Duration::from_secs(5);
/// How long who needs a module that is not known waits for who asks already.
const WAIT: Duration = Duration::from_secs(1);
/// Bound on one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read at most.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;
/// Businesses kept. A caller chooses the number in the path, so there must be a bound; above it
/// the cache starts again.
const BUSINESSES: usize = 4096;
/// Connections kept to the CMDB.
const CONNECTIONS: usize = 4;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: bool,
    #[serde(default)]
    bk_error_code: i64,
    #[serde(default)]
    bk_error_msg: String,
    #[serde(default)]
    data: Option<Vec<Node>>,
}

/// Why a question brought no topology.
enum Failure {
    /// The CMDB does not answer this caller; of others that says nothing.
    Caller(String),
    /// It cannot be asked, or answers nothing that makes sense.
    Cmdb(String),
}

/// What is known of one business.
#[derive(Default)]
struct Known {
    business: Option<Arc<Business>>,
    /// Why the last question brought nothing newer.
    failure: Option<String>,
    asked: Option<Instant>,
    /// When the CMDB was last asked for the sake of a module.
    sought: Option<Instant>,
}

impl Known {
    /// Whether a known business is without one of those modules.
    fn lacks(&self, modules: &[i64]) -> bool {
        let lacks = |business: &Arc<Business>| !modules.iter().all(|id| business.has_module(*id));
        self.business.as_ref().is_some_and(lacks)
    }

    /// What was learned last; a failure takes no knowledge away. `None`: nobody has asked yet.
    fn answer(&self) -> Option<Result<Arc<Business>, String>> {
        let failure = || self.failure.clone().map(Err);
        self.business.clone().map(Ok).or_else(failure)
    }
}

/// One business: who holds `asking` asks the CMDB.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    asking: Mutex<()>,
}

/// The CMDB behind a cache.
pub struct CmdbTopology {
    base: BaseUrl,
    http: Client,
    slots: Mutex<HashMap<(String, i64), Arc<Slot>>>,
    age: Duration,
    pause: Duration,
}

impl CmdbTopology {
    /// Nothing is asked yet.
    pub fn new(base: BaseUrl) -> Result<Self, TopologyError> {
        let tls = match base.origin.starts_with("https://") {
            true => Some(http::tls::client_config(&TlsFiles::default(), true)?),
            false => None,
        };
        let http = Client::new(&Options {
            tls,
            idle_connections: CONNECTIONS,
            connect_timeout: TIMEOUT,
            identity: false,
        });
        Ok(Self { base, http, slots: Mutex::default(), age: AGE, pause: PAUSE })
    }

    /// A business: at most a minute old, or as old as it has to be while the CMDB cannot be asked. If it
    /// is known without one of `modules`, the CMDB is asked again at once.
    pub fn business(
        &self,
        biz: i64,
        caller: &Caller,
        modules: &[i64],
    ) -> Result<Arc<Business>, TopologyError> {
        let slot = self.slot(biz, caller);
        self.look(&slot, biz, caller, modules).map_err(|reason| TopologyError::Cmdb { biz, reason })
    }

    /// Why something that is known could not be looked at again.
    pub fn problem(&self) -> Option<String> {
        let slots = self.slots.lock();
        slots.iter().find_map(|((_, biz), slot)| {
            let known = slot.known.lock();
            let reason = known.failure.clone().filter(|_| known.business.is_some())?;
            Some(format!("{}; what it said before stays in force", TopologyError::Cmdb { biz: *biz, reason }))
        })
    }

    fn look(&self, slot: &Slot, biz: i64, caller: &Caller, modules: &[i64]) -> Result<Arc<Business>, String> {
        if let Some(fresh) = self.fresh(slot, modules) {
            return fresh;
        }
        let (old, lacks) = {
            let known = slot.known.lock();
            (known.answer(), known.lacks(modules))
        };
        let wait = if lacks { WAIT } else { Duration::ZERO };
        let _asking = match (slot.asking.try_lock_for(wait), old) {
            (Some(asking), _) => asking,
            // A CMDB that hangs must not hold up more than the one who asks.
            (None, Some(old)) => return old,
            (None, None) => slot.asking.lock(),
        };
        if let Some(fresh) = self.fresh(slot, modules) {
            return fresh;
        }
        let fetched = self.fetch(biz, caller);
        let mut known = slot.known.lock();
        if lacks {
            // Whatever was answered: who asks for modules that do not exist does not drive the CMDB.
            known.sought = Some(Instant::now());
        }
        match fetched {
            Err(Failure::Caller(reason)) => return Err(reason),
            Err(Failure::Cmdb(reason)) => {
                if known.failure.is_none() {
                    log::warn!("cmdb_addr: no topology of business {biz}: {reason}");
                }
                known.failure = Some(reason);
            }
            Ok(business) => {
                if known.failure.take().is_some() {
                    log::info!("cmdb_addr: the topology of business {biz} is there again");
                }
                known.business = Some(Arc::new(business));
            }
        }
        known.asked = Some(Instant::now());
        known.answer().unwrap_or_else(|| Err("nobody has asked".to_owned()))
    }

    /// What needs no question now.
    fn fresh(&self, slot: &Slot, modules: &[i64]) -> Option<Result<Arc<Business>, String>> {
        let known = slot.known.lock();
        let sought = || known.sought.is_some_and(|at| at.elapsed() < self.pause);
        let lasts = match known.failure.is_some() {
            true => self.pause,
            false if known.lacks(modules) && !sought() => Duration::ZERO,
            false => self.age,
        };
        known.asked.filter(|at| at.elapsed() < lasts).and_then(|_| known.answer())
    }

    fn slot(&self, biz: i64, caller: &Caller) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let key = (caller.account.clone(), biz);
        if slots.len() >= BUSINESSES && !slots.contains_key(&key) {
            slots.clear();
        }
        slots.entry(key).or_default().clone()
    }

    fn fetch(&self, biz: i64, caller: &Caller) -> Result<Business, Failure> {
        let url = format!("{}{}/find/topoinst_with_statistics/biz/{biz}", self.base.origin, self.base.prefix);
        let headers = [
            ("BK_User", caller.user.as_str()),
            ("HTTP_BLUEKING_SUPPLIER_ID", caller.account.as_str()),
            ("HTTP_BK_SUPPLIER_ACCOUNT", caller.account.as_str()),
            ("Content-Type", "application/json"),
        ];
        let request = Request {
            method: Method::Post,
            url: &url,
            headers: &headers,
            body: Some(b"{}"),
            timeout: Some(TIMEOUT),
            idle_timeout: None,
        };
        let failed = |error: &dyn std::fmt::Display| Failure::Cmdb(error.to_string());
        let response = self.http.send(&request).map_err(|error| failed(&error))?;
        let status = response.status;
        let body = response.bytes(ANSWER_LIMIT).map_err(|error| failed(&error))?;
        if status != 200 {
            return Err(failed(&format!("HTTP {status}")));
        }
        let envelope: Envelope = serde_json::from_slice(&body)
            .map_err(|error| failed(&format!("not the CMDB's envelope: {error}")))?;
        if !envelope.result || envelope.bk_error_code != 0 {
            let said = format!("code {}: {}", envelope.bk_error_code, envelope.bk_error_msg);
            return Err(match envelope.bk_error_code {
                codes::PERMISSION => Failure::Caller(said),
                _ => Failure::Cmdb(said),
            });
        }
        Ok(Business::new(envelope.data.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::{Receiver, Sender, unbounded};
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A CMDB that tells of each question, and answers each with the next body it is given.
    struct Cmdb {
        topology: CmdbTopology,
        questions: Receiver<()>,
        answers: Sender<String>,
    }

    fn cmdb(age: Duration, pause: Duration) -> Cmdb {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (asked, questions) = unbounded();
        let (answers, given) = unbounded::<String>();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut input = BufReader::new(stream);
                let mut line = String::new();
                while input.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                if input.read_exact(&mut [0; 2]).is_err() || asked.send(()).is_err() {
                    return;
                }
                let Ok(body) = given.recv() else { return };
                let length = body.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = input.get_mut().write_all(format!("{head}{body}").as_bytes());
            }
        });
        let base = BaseUrl { origin, prefix: String::new() };
        let topology = CmdbTopology { age, pause, ..CmdbTopology::new(base).unwrap() };
        Cmdb { topology, questions, answers }
    }

    impl Cmdb {
        fn answer(&self, body: &str) {
            self.answers.send(body.to_owned()).unwrap();
        }

        fn has_module_41(&self, biz: i64) -> Result<bool, String> {
            let caller = Caller { user: "bcs".to_owned(), account: "0".to_owned() };
            let business = self.topology.business(biz, &caller, &[41]).map_err(|error| error.to_string());
            business.map(|business| business.has_module(41))
        }

        fn questions(&self) -> usize {
            self.questions.try_iter().count()
        }
    }

    const TREE: &str = r#"{"result":true,"data":[{"bk_obj_id":"biz","bk_inst_id":2,"child":[
        {"bk_obj_id":"set","bk_inst_id":11,"child":[{"bk_obj_id":"module","bk_inst_id":41}]}]}]}"#;

    #[test]
    fn what_is_known_of_a_business_outlives_a_cmdb_that_cannot_be_asked() {
        let cmdb = cmdb(Duration::ZERO, Duration::ZERO);
        cmdb.answer(TREE);
        assert_eq!((cmdb.has_module_41(2), cmdb.topology.problem()), (Ok(true), None));
        for failure in ["<html>", "", r#"{"result":false,"bk_error_code":-1,"bk_error_msg":"busy"}"#] {
            cmdb.answer(failure);
            assert_eq!(cmdb.has_module_41(2), Ok(true), "{failure}");
            assert!(cmdb.topology.problem().unwrap().contains("business 2"), "{failure}");
        }
        cmdb.answer(r#"{"result":true,"data":[]}"#);
        assert_eq!((cmdb.has_module_41(2), cmdb.topology.problem()), (Ok(false), None));
        cmdb.answer("<html>");
        assert!(cmdb.has_module_41(3).unwrap_err().contains("business 3"));
        assert_eq!(cmdb.topology.problem(), None, "nothing was known of it");
    }

    #[test]
    fn a_caller_without_permission_is_told_so_and_nobody_else() {
        let cmdb = cmdb(Duration::ZERO, PATIENCE);
        cmdb.answer(TREE);
        assert_eq!(cmdb.has_module_41(2), Ok(true));
        cmdb.answer(r#"{"result":false,"bk_error_code":9900403,"bk_error_msg":"not you"}"#);
        assert!(cmdb.has_module_41(2).unwrap_err().contains("not you"));
        cmdb.answer(TREE);
        assert_eq!((cmdb.has_module_41(2), cmdb.topology.problem()), (Ok(true), None));
    }

    #[test]
    fn a_cmdb_that_failed_is_left_in_peace_for_a_while() {
        let cmdb = cmdb(PATIENCE, PATIENCE);
        cmdb.answer("<html>");
        for _ in 0..3 {
            assert!(cmdb.has_module_41(2).is_err());
        }
        assert_eq!(cmdb.questions(), 1);
    }

    const WITHOUT: &str = r#"{"result":true,"data":[{"bk_obj_id":"biz","bk_inst_id":2}]}"#;

    #[test]
    fn a_module_that_was_just_made_is_found_at_once() {
        let cmdb = cmdb(PATIENCE, PATIENCE);
        cmdb.answer(WITHOUT);
        assert_eq!(cmdb.has_module_41(2), Ok(false));
        cmdb.answer(TREE);
        assert_eq!((cmdb.has_module_41(2), cmdb.has_module_41(2)), (Ok(true), Ok(true)));
        assert_eq!(cmdb.questions(), 2);
    }

    #[test]
    fn a_module_that_does_not_exist_is_not_asked_for_again_and_again() {
        for second in [WITHOUT, "<html>", r#"{"result":false,"bk_error_code":9900403}"#] {
            let cmdb = cmdb(PATIENCE, PATIENCE);
            cmdb.answer(WITHOUT);
            cmdb.answer(second);
            let _ = (cmdb.has_module_41(2), cmdb.has_module_41(2));
            for _ in 0..3 {
                assert_eq!(cmdb.has_module_41(2), Ok(false), "{second}");
            }
            assert_eq!(cmdb.questions(), 2, "{second}");
        }
    }

    #[test]
    fn a_cmdb_that_hangs_holds_up_only_the_one_who_asks() {
        let cmdb = cmdb(Duration::ZERO, PATIENCE);
        cmdb.answer(TREE);
        assert_eq!(cmdb.has_module_41(2), Ok(true));
        cmdb.questions.recv_timeout(PATIENCE).unwrap();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| cmdb.has_module_41(2));
            cmdb.questions.recv_timeout(PATIENCE).unwrap();
            for _ in 0..3 {
                assert_eq!(cmdb.has_module_41(2), Ok(true));
            }
            assert!(!asks.is_finished());
            cmdb.answer(TREE);
            assert_eq!(asks.join().unwrap(), Ok(true));
        });
    }
}
