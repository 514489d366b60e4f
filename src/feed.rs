//! The inventory as coordination wants it: where clusters come from, which of them concern this
//! fleet, how often to ask. All of that may be replaced while it is used.

use crate::config::{Config, TaskManagerType};
use crate::coordination::Feed;
use crate::http::RequestStats;
use crate::inventory::{Confirmation, FileSource, Filter, Inventory, PaasSettings, PaasSource, Source};
use crate::logging::Told;
use crate::service::{StartError, http_client};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at `task_file`: they cost nothing, and whoever edits it waits for the effect.
const FILE_LOOK: Duration = Duration::from_secs(5);

/// What a feed works with at the moment.
struct Parts {
    source: Box<dyn Source>,
    filter: Filter,
    interval: Duration,
}

/// The handle by which the feed of a running service is changed.
#[derive(Clone)]
pub struct LiveFeed {
    /// Held for a whole pull: a change waits for its end.
    parts: Arc<Mutex<Parts>>,
    interval: Arc<Mutex<Duration>>,
    stats: Arc<RequestStats>,
}

/// The feed of a configuration, and its handle; requests to paas-cc are counted in `stats`.
///
/// # Errors
/// Patterns or addresses that validation does not let pass.
pub fn start(config: &Config, stats: Arc<RequestStats>) -> Result<(Feed, LiveFeed), StartError> {
    let parts = parts(config, &stats)?;
    let interval = Arc::new(Mutex::new(parts.interval));
    let live = LiveFeed { parts: Arc::new(Mutex::new(parts)), interval, stats };
    let (pulled, paced) = (live.clone(), live.clone());
    let mut told = Told::default();
    let pull = Box::new(move || {
        let mut parts = pulled.parts.lock();
        let pulled = parts.source.pull().map_err(|error| error.to_string());
        tell(&pulled, &mut told);
        let mut inventory = pulled?;
        inventory.clusters.retain(|cluster| parts.filter.allows(&cluster.id));
        Ok(inventory)
    });
    let confirmation = match config.task_manager_type {
        TaskManagerType::File(_) => Confirmation::AtOnce,
        TaskManagerType::Paas => Confirmation::Twice,
    };
    let interval = Box::new(move || *paced.interval.lock());
    Ok((Feed { pull, interval, confirmation }, live))
}

/// Logs what is wrong with the inventory when it begins, and when all of it is over.
fn tell(pulled: &Result<Inventory, String>, told: &mut Told) {
    let problems = match pulled {
        Ok(inventory) => &inventory.problems[..],
        Err(problem) => std::slice::from_ref(problem),
    };
    for problem in problems.iter().filter(|problem| told.is_news(problem)) {
        log::warn!("inventory: {problem}");
    }
    if problems.is_empty() && told.all_is_well() {
        log::info!("inventory: all of it can be read again");
    }
}

impl LiveFeed {
    /// Another configuration from the next pull on. Waits for a pull that is under way.
    ///
    /// # Errors
    /// As [`start`].
    pub fn replace(&self, config: &Config) -> Result<(), StartError> {
        let parts = parts(config, &self.stats)?;
        *self.interval.lock() = parts.interval;
        *self.parts.lock() = parts;
        Ok(())
    }
}

fn parts(config: &Config, stats: &Arc<RequestStats>) -> Result<Parts, StartError> {
    let filter = Filter::new(&config.include_clusters, &config.exclude_clusters)?;
    let (source, interval): (Box<dyn Source>, _) = match &config.task_manager_type {
        TaskManagerType::File(path) => {
            (Box::new(FileSource::new(path)), config.cluster_pull_interval.min(FILE_LOOK))
        }
        TaskManagerType::Paas => (Box::new(paas(config, stats)?), config.cluster_pull_interval),
    };
    Ok(Parts { source, filter, interval })
}

fn paas(config: &Config, stats: &Arc<RequestStats>) -> Result<PaasSource, StartError> {
    let Some(base) = &config.paas_addr else {
        return Err(StartError::Incomplete("paas_addr: is required with task_manager_type paas"));
    };
    let settings = PaasSettings {
        env: config.paas_env.clone(),
        cluster_env: config.paas_cluster_env.clone(),
        app_code: config.paas_app_code.clone(),
        app_secret: config.paas_app_secret.clone(),
        access_token: config.paas_access_token.clone(),
        timeout: config.paas_timeout,
    };
    Ok(PaasSource::new(http_client(base, 1)?, base.clone(), settings, Arc::clone(stats)))
}
