//! The entries and the three ways to find them: uuid, storage `_id`, namespace and name.

use super::entry::Entry;
use crate::model::StorageKey;
use crate::plan::mutation::{Mutation, active};
use hashbrown::HashTable;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A slab of entries with three indexes of four bytes an entry.
#[derive(Debug, Default)]
pub(super) struct Index {
    seed: u64,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_uuid: HashTable<u32>,
    by_id: HashTable<u32>,
    by_name: HashTable<u32>,
    /// Where bcs-storage keeps the few documents it does not keep under their pod's names, by slot.
    keys: HashMap<u32, StorageKey>,
}

impl Index {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }

    pub fn by_uuid(&self, uuid: &str) -> Option<u32> {
        find(&self.by_uuid, self.hash(uuid), &self.slots, |entry| entry.uuid() == uuid)
    }

    pub fn by_id(&self, storage_id: &str) -> Option<u32> {
        if storage_id.is_empty() {
            return None;
        }
        find(&self.by_id, self.hash(storage_id), &self.slots, |entry| entry.storage_id() == storage_id)
    }

    pub fn by_name(&self, namespace: &str, name: &str) -> Option<u32> {
        let matches = |entry: &Entry| entry.name() == name && entry.namespace() == namespace;
        find(&self.by_name, self.hash_name(namespace, name), &self.slots, matches)
    }

    /// Adds an entry; its name and id are found from now on only if no other entry has them.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                (self.slots.len() - 1) as u32
            }
        };
        let Self { seed, slots, by_uuid, .. } = self;
        let hash = |slot: &u32| slots[*slot as usize].as_ref().map_or(0, |e| hash_of(*seed, e.uuid()));
        by_uuid.insert_unique(hash(&slot), slot, hash);
        let (taken, id_taken) = match self.get(slot) {
            Some(e) => (self.by_name(e.namespace(), e.name()), self.by_id(e.storage_id())),
            None => return slot,
        };
        if taken.is_none() {
            self.own_name(slot);
        }
        if id_taken.is_none() {
            self.own_id(slot);
        }
        slot
    }

    /// From now on its namespace and name lead to this entry and to no other.
    pub fn own_name(&mut self, slot: u32) {
        let Some(entry) = self.get(slot) else { return };
        let hash = self.hash_name(entry.namespace(), entry.name());
        if let Some(holder) = self.by_name(entry.namespace(), entry.name()) {
            if holder == slot {
                return;
            }
            remove(&mut self.by_name, hash, holder);
        }
        let Self { seed, slots, by_name, .. } = self;
        by_name.insert_unique(hash, slot, |slot| {
            slots[*slot as usize].as_ref().map_or(0, |e| hash_of_name(*seed, e.namespace(), e.name()))
        });
    }

    /// From now on its `_id` leads to this entry and to no other.
    pub fn own_id(&mut self, slot: u32) {
        let Some(entry) = self.get(slot).filter(|entry| !entry.storage_id().is_empty()) else { return };
        let hash = self.hash(entry.storage_id());
        if let Some(holder) = self.by_id(entry.storage_id()) {
            if holder == slot {
                return;
            }
            remove(&mut self.by_id, hash, holder);
        }
        let Self { seed, slots, by_id, .. } = self;
        by_id.insert_unique(hash, slot, |slot| {
            slots[*slot as usize].as_ref().map_or(0, |e| hash_of(*seed, e.storage_id()))
        });
    }

    /// Gives an entry another storage `_id`, which leads to it and to no other from now on.
    pub fn set_id(&mut self, slot: u32, storage_id: &str) {
        let Some(entry) = self.get(slot) else { return };
        if entry.storage_id() != storage_id {
            self.release_id(slot);
            if let Some(entry) = self.get_mut(slot) {
                entry.set_storage_id(storage_id);
            }
        }
        self.own_id(slot);
    }

    /// Where bcs-storage keeps its document; `None`: under its namespace and name.
    pub fn set_key(&mut self, slot: u32, key: Option<&StorageKey>) {
        match key {
            None if self.keys.is_empty() => {}
            None => drop(self.keys.remove(&slot)),
            Some(key) if self.keys.get(&slot) == Some(key) => {}
            Some(key) => drop(self.keys.insert(slot, key.clone())),
        }
    }

    /// The namespace and name bcs-storage is asked for its document by, as far as known.
    pub fn key(&self, slot: u32) -> Option<(&str, &str)> {
        match self.keys.get(&slot) {
            Some(key) if !active(Mutation::ReadByName) => Some((&key.namespace, &key.name)),
            _ => self.get(slot).map(|entry| (entry.namespace(), entry.name())),
        }
    }

    /// Its name and id no longer lead to this entry; its uuid still does.
    fn release(&mut self, slot: u32) {
        let Some(entry) = self.get(slot) else { return };
        let hash = self.hash_name(entry.namespace(), entry.name());
        remove(&mut self.by_name, hash, slot);
        self.release_id(slot);
    }

    fn release_id(&mut self, slot: u32) {
        let Some(entry) = self.get(slot) else { return };
        let hash = self.hash(entry.storage_id());
        remove(&mut self.by_id, hash, slot);
    }

    pub fn remove(&mut self, slot: u32) {
        self.release(slot);
        let Some(entry) = self.get(slot) else { return };
        let hash = self.hash(entry.uuid());
        remove(&mut self.by_uuid, hash, slot);
        self.slots[slot as usize] = None;
        self.set_key(slot, None);
        self.free.push(slot);
    }

    pub fn slots(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| Some((slot as u32, entry.as_ref()?)))
    }

    fn hash(&self, text: &str) -> u64 {
        hash_of(self.seed, text)
    }

    fn hash_name(&self, namespace: &str, name: &str) -> u64 {
        hash_of_name(self.seed, namespace, name)
    }
}

fn hash_of(seed: u64, text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), seed)
}

fn hash_of_name(seed: u64, namespace: &str, name: &str) -> u64 {
    hash_of(seed, namespace).rotate_left(1) ^ hash_of(seed, name)
}

fn find(
    table: &HashTable<u32>,
    hash: u64,
    slots: &[Option<Entry>],
    matches: impl Fn(&Entry) -> bool,
) -> Option<u32> {
    table.find(hash, |slot| slots[*slot as usize].as_ref().is_some_and(&matches)).copied()
}

fn remove(table: &mut HashTable<u32>, hash: u64, slot: u32) {
    if let Ok(found) = table.find_entry(hash, |other| *other == slot) {
        found.remove();
    }
}
