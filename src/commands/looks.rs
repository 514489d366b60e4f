//! How often `diff` looks at a pod before it calls it different.
//!
//! Pure. The two listings, and the two reads of one pod, are never of the same moment, and a service
//! at work needs a while for each change. Nothing tells a change on its way from one that was lost,
//! except that it does not stay: what differs counts when it stood still from one look to the next,
//! and where others move meanwhile, so that somebody is at work, for longer.

use super::comparison::Verdict;

/// More differences than this are no writes that happen to be under way: one look is enough.
const NO_COINCIDENCE: usize = 1000;
/// Looks in a row that must show the same after the first of them, where nothing moves at all.
const STILL: u32 = 1;
/// The same where something moves: a busy CMDB may take as many pauses between two looks.
const STILL_AT_WORK: u32 = 3;
/// What moves and yet differs in so many looks is not caught up with.
const MOST: u32 = 12;

/// A pod that may differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub uuid: String,
    pub namespace: String,
    pub name: String,
    /// The namespace and name bcs-storage is asked for it by.
    pub key: (String, String),
    /// What the last look showed, and how many before it, in a row, showed just the same.
    last: Option<(Glimpse, u32)>,
}

/// What a look at both sides of a pod shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Glimpse {
    /// The pod's resource version in bcs-storage, if it is there and has one.
    pub version: Option<u64>,
    pub verdict: Verdict,
}

impl Candidate {
    /// The listings differ in this pod.
    pub fn new(uuid: String, namespace: String, name: String, key: (String, String)) -> Self {
        Self { uuid, namespace, name, key, last: None }
    }
}

/// The looks at the pods of one cluster.
pub(super) struct Looks {
    /// How many are over.
    over: u32,
    /// How many there may be.
    most: u32,
    /// Something moved since the listings: changes are being written.
    at_work: bool,
}

impl Looks {
    /// So many pods differ in the listings.
    pub fn new(differing: usize) -> Self {
        Self { over: 0, most: if differing > NO_COINCIDENCE { 1 } else { MOST }, at_work: false }
    }

    /// Takes in what this look shows of one pod; back comes a pod that still differs.
    pub fn take(&mut self, mut candidate: Candidate, glimpse: Glimpse) -> Option<Candidate> {
        if glimpse.verdict == Verdict::Same {
            self.at_work = true;
            return None;
        }
        let still = match candidate.last.take() {
            Some((last, still)) if last == glimpse => still + 1,
            Some(_) => {
                self.at_work = true;
                0
            }
            None => 0,
        };
        candidate.last = Some((glimpse, still));
        Some(candidate)
    }

    /// Ends a look: which of the pods that still differ are different, and which to look at again.
    pub fn judge(&mut self, open: Vec<Candidate>) -> (Vec<(Candidate, Verdict)>, Vec<Candidate>) {
        self.over += 1;
        let needed = if self.at_work { STILL_AT_WORK } else { STILL };
        let (mut different, mut again) = (Vec::new(), Vec::new());
        for mut candidate in open {
            match candidate.last.take() {
                Some((glimpse, still)) if still >= needed || self.over >= self.most => {
                    different.push((candidate, glimpse.verdict));
                }
                last => {
                    candidate.last = last;
                    again.push(candidate);
                }
            }
        }
        (different, again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Proof;

    fn lacking(version: u64) -> Glimpse {
        Glimpse { version: Some(version), verdict: Verdict::Create }
    }

    fn same() -> Glimpse {
        Glimpse { version: None, verdict: Verdict::Same }
    }

    /// After which look, counted from 1, each pod is called different; 0: never. `shown` are, for
    /// each pod, the glimpses of look after look, the last one for ever.
    fn check(shown: &[Vec<Glimpse>], differing: usize, expected: &[u32]) {
        let mut looks = Looks::new(differing);
        let name = |number: usize| {
            let place = || ("ns".to_owned(), "pod".to_owned());
            Candidate::new(number.to_string(), place().0, place().1, place())
        };
        let mut candidates: Vec<Candidate> = (0..shown.len()).map(name).collect();
        let mut called = vec![0; shown.len()];
        while !candidates.is_empty() {
            let mut open = Vec::new();
            for candidate in candidates {
                let all = &shown[candidate.uuid.parse::<usize>().unwrap()];
                let glimpse = &all[(looks.over as usize).min(all.len() - 1)];
                open.extend(looks.take(candidate, glimpse.clone()));
            }
            let (different, again) = looks.judge(open);
            for (candidate, _) in different {
                called[candidate.uuid.parse::<usize>().unwrap()] = looks.over;
            }
            candidates = again;
        }
        assert_eq!(called, expected, "{shown:?}");
    }

    #[test]
    fn what_stands_still_where_nothing_moves_is_different_at_the_second_look() {
        check(&[vec![lacking(1)], vec![lacking(7)]], 2, &[2, 2]);
    }

    #[test]
    fn what_is_equal_at_any_look_is_not_different() {
        check(&[vec![same()]], 1, &[0]);
        check(&[vec![lacking(1), lacking(2), same()]], 1, &[0]);
    }

    #[test]
    fn a_pod_whose_version_moved_is_looked_at_again() {
        check(&[vec![lacking(1), lacking(2), lacking(3), same()]], 1, &[0]);
        check(&[vec![lacking(1), lacking(2)]], 1, &[5]);
        // Its version does not tell when it goes; what is to be done does.
        let gone = Glimpse { version: Some(1), verdict: Verdict::Delete(Proof::Gone) };
        check(&[vec![lacking(1), gone, same()]], 1, &[0]);
    }

    #[test]
    fn what_stands_still_while_others_move_may_be_slow_and_has_longer() {
        let slow = vec![lacking(1), lacking(1), lacking(1), same()];
        check(&[slow.clone(), vec![same()]], 2, &[0, 0]);
        check(&[slow, vec![lacking(4), lacking(5), same()]], 2, &[0, 0]);
        check(&[vec![lacking(1)], vec![same()]], 2, &[4, 0]);
    }

    #[test]
    fn what_is_never_caught_up_with_is_different_in_the_end() {
        check(&[(0..20).map(lacking).collect()], 1, &[MOST]);
    }

    #[test]
    fn a_great_many_differences_are_no_coincidence() {
        check(&[vec![lacking(1)], vec![same()]], NO_COINCIDENCE + 1, &[1, 0]);
    }
}
