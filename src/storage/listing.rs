//! A full listing of one cluster's pods, page by page (protocol.md 1.1).

use super::client::{query, segment};
use super::page::Page;
use super::permits::Permit;
use super::{Client, StorageError, TooLarge, wire};
use crate::config::BaseUrl;
use crate::http::HttpError;
use crate::model::ClusterKind;
use std::io::Read;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes taken from the connection at a time.
const READ_SIZE: usize = 64 * 1024;

/// A listing under way. It holds one of the places `storage_list_concurrency` allows at its
/// address until it is dropped.
pub struct Listing {
    client: Client,
    permit: Option<Permit>,
    cluster: String,
    /// Path and query without offset and limit.
    path: String,
    offset: u64,
    complete: bool,
    page: Page,
    buffer: Vec<u8>,
    /// Fingerprint of the page before.
    previous: Option<u64>,
    too_large: Vec<TooLarge>,
}

/// What one page held.
#[derive(Default)]
struct Tally {
    documents: usize,
    fingerprint: u64,
}

impl Client {
    /// Begins a listing of `cluster`, with the projection `fields` (comma separated dotted paths).
    ///
    /// Waits, without a bound of its own but not past [`Client::stop`], for a place at one of the
    /// addresses that work.
    pub fn listing(&self, cluster: &str, kind: ClusterKind, fields: &str) -> Result<Listing, StorageError> {
        let path = format!(
            "/bcsstorage/v1/{}/dynamic/all_resources/clusters/{}/{}?field={}",
            kind.as_str(),
            segment(cluster)?,
            kind.resource_type(),
            query(fields),
        );
        let permit = self.place(&self.ordered(cluster, None))?;
        Ok(Listing {
            client: self.clone(),
            permit: Some(permit),
            cluster: cluster.to_owned(),
            path,
            offset: 0,
            complete: false,
            page: Page::new(),
            buffer: vec![0; READ_SIZE],
            previous: None,
            too_large: Vec::new(),
        })
    }

    /// A place at one of `addresses`; at a bad one only if all are.
    fn place(&self, addresses: &[BaseUrl]) -> Result<Permit, StorageError> {
        let (good, bad): (Vec<_>, Vec<_>) =
            addresses.iter().cloned().partition(|address| !self.shared.health.is_bad(address));
        let usable = if good.is_empty() { bad } else { good };
        if usable.is_empty() {
            return Err(StorageError::NoAddress);
        }
        let permit = self.shared.permits.acquire(&usable, || self.is_stopped());
        permit.ok_or(StorageError::Stopped)
    }
}

impl Listing {
    /// Reads the next page; each document is handed to `on_document` as it stands there, be it
    /// valid JSON or not. `Some` is their number, `None` says that the listing is complete.
    ///
    /// After an error, the documents of the page that failed are void, and the listing with them:
    /// it shows nothing about what exists.
    pub fn next_page(&mut self, on_document: &mut dyn FnMut(&[u8])) -> Result<Option<usize>, StorageError> {
        if self.complete {
            return Ok(None);
        }
        let mut tried: Vec<String> = Vec::new();
        loop {
            let Some(permit) = &self.permit else {
                return Err(StorageError::NoAddress);
            };
            let (client, address) = (self.client.clone(), permit.address.clone());
            let mut tally = Tally::default();
            let result = client.counted("list", &address, || {
                self.read_page(&address, &mut tally, on_document)?;
                self.judge(&address, &tally)
            });
            match result {
                Ok(()) => {
                    self.offset += tally.documents as u64;
                    return Ok(Some(tally.documents));
                }
                // A document that was handed out cannot be taken back for another address.
                Err(error) if error.concerns_address() && tally.documents == 0 => {
                    tried.push(address.origin);
                    self.move_on(&tried, error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Documents above the size limit, passed over so far: they exist, but nobody saw them.
    pub fn too_large(&self) -> &[TooLarge] {
        &self.too_large
    }

    /// The address the listing comes from.
    pub fn address(&self) -> &str {
        self.permit.as_ref().map_or("", |permit| &permit.address.origin)
    }

    /// Takes a place at an address that was not tried; `error` if there is none.
    fn move_on(&mut self, tried: &[String], error: StorageError) -> Result<(), StorageError> {
        let mut others = self.client.ordered(&self.cluster, None);
        others.retain(|address| !tried.contains(&address.origin));
        if others.is_empty() {
            return Err(error);
        }
        // Given back first: two listings must not wait for each other's place.
        self.permit = None;
        self.permit = Some(self.client.place(&others)?);
        Ok(())
    }

    fn read_page(
        &mut self,
        address: &BaseUrl,
        tally: &mut Tally,
        on_document: &mut dyn FnMut(&[u8]),
    ) -> Result<(), StorageError> {
        let url = format!("{}&offset={}&limit={}", self.path, self.offset, self.limit());
        let mut answer = self.client.fetch(address, &url)?;
        self.page.restart();
        let too_large = &mut self.too_large;
        let mut on_element = |element: Result<&[u8], TooLarge>| {
            tally.documents += 1;
            let fingerprint = match element {
                Ok(document) => {
                    on_document(document);
                    xxh3_64(document)
                }
                Err(error) => {
                    too_large.push(error);
                    error.bytes
                }
            };
            tally.fingerprint = tally.fingerprint.rotate_left(7) ^ fingerprint;
        };
        loop {
            let read = answer.body.read(&mut self.buffer);
            let read = read.map_err(|error| HttpError::reading(&answer.peer, &error))?;
            if read == 0 {
                break;
            }
            let bytes = &self.buffer[..read];
            self.page.feed(bytes, &mut on_element).map_err(|error| wire::malformed(&answer.peer, error))?;
        }
        let members = self.page.finish().map_err(|error| wire::malformed(&answer.peer, error))?;
        wire::judge_page(&answer.peer, &members)
    }

    /// Whether the page fits what was asked for; a short one is the last.
    fn judge(&mut self, address: &BaseUrl, tally: &Tally) -> Result<(), StorageError> {
        let limit = self.limit() as usize;
        if tally.documents > limit {
            let reason = format!("{} documents, {limit} were asked for", tally.documents);
            return Err(wire::malformed(&address.origin, reason));
        }
        self.complete = tally.documents < limit;
        let before = self.previous.replace(tally.fingerprint);
        if !self.complete && before == Some(tally.fingerprint) {
            // Without this a server that ignores the offset is listed for ever.
            return Err(wire::malformed(&address.origin, "the same page again: it ignores `offset`"));
        }
        Ok(())
    }

    /// Documents a page: never 0, which asks for all or for 3000 (protocol.md 1.1).
    fn limit(&self) -> u32 {
        self.client.shared.settings.page_size.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RequestStats;
    use crate::storage::{Settings, StaticAddresses};
    use socket2::{Domain, Socket, Type};
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    /// A client of two addresses where nobody is, nor will be, and each may carry one listing.
    fn two_dead_addresses() -> (Client, [BaseUrl; 2]) {
        let addresses = [1, 2].map(|_| {
            // Taken for as long as this process lives, and nobody listens.
            let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            let address = taken.local_addr().unwrap().as_socket().unwrap();
            std::mem::forget(taken);
            BaseUrl { origin: format!("http://{address}"), prefix: String::new() }
        });
        let (page_size, minute) = (2, Duration::from_secs(60));
        let settings =
            Settings { page_size, timeout: minute, watch_idle_timeout: minute, list_concurrency: 1 };
        let known = Arc::new(StaticAddresses::new(addresses.to_vec()));
        (Client::new(known, None, settings, Arc::new(RequestStats::default())), addresses)
    }

    fn begin(client: &Client) -> Listing {
        client.listing("BCS-K8S-1", ClusterKind::K8s, "a").unwrap()
    }

    /// How many listings each address carries.
    fn used(client: &Client, addresses: &[BaseUrl; 2]) -> [usize; 2] {
        addresses.each_ref().map(|address| client.shared.permits.used(address))
    }

    #[test]
    fn a_listing_that_moves_to_another_address_has_a_place_at_that_one_only() {
        let (client, addresses) = two_dead_addresses();
        let mut listing = begin(&client);
        let before = used(&client, &addresses);
        listing.next_page(&mut |_| ()).unwrap_err();
        let after = used(&client, &addresses);
        assert_eq!(after.map(|count| 1 - count), before);
        assert!(
            addresses.iter().zip(after).all(|(a, count)| (a.origin == listing.address()) == (count == 1))
        );
        drop(listing);
        assert_eq!(used(&client, &addresses), [0, 0]);
    }

    #[test]
    fn a_listing_that_waits_for_a_place_at_another_address_keeps_none() {
        let (client, addresses) = two_dead_addresses();
        let (mut moving, other) = (begin(&client), begin(&client));
        assert_eq!(used(&client, &addresses), [1, 1]);
        let moved = thread::spawn(move || moving.next_page(&mut |_| ()).unwrap_err());
        let deadline = Instant::now() + Duration::from_secs(30);
        while used(&client, &addresses).iter().sum::<usize>() > 1 {
            assert!(Instant::now() < deadline, "it waits for a place and holds one");
            thread::yield_now();
        }
        drop(other);
        moved.join().unwrap();
        assert_eq!(used(&client, &addresses), [0, 0]);
    }
}
