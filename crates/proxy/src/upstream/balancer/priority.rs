//! Which share of the load each priority takes.
//!
//! Envoy, "Priority levels", "Degraded endpoints" and "Panic threshold": the health of a priority is its share of
//! healthy endpoints times the overprovisioning factor, at most 100; load goes to priorities in order, each up to its
//! health; what is left goes to degraded endpoints in the same way. A priority whose usable share lies below the
//! threshold panics, unless the others are enough for all load.

/// Endpoints of one priority, by number or by weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) healthy: u64,
    pub(super) degraded: u64,
}

/// What a priority takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Percent of the load that goes to its healthy endpoints; to all when it panics.
    pub(super) healthy: u32,
    /// Percent that goes to its degraded ones.
    pub(super) degraded: u32,
    pub(super) panics: bool,
}

/// The loads of priorities, in order; they sum up to 100 where there is any priority.
pub(super) fn loads(priorities: &[Counts], overprovisioning: u32, panic_threshold: u32) -> Vec<Load> {
    let mut loads = vec![Load::default(); priorities.len()];
    let share = |part: u64, total: u64| {
        (u64::from(overprovisioning) * part).checked_div(total).unwrap_or(0).min(100) as u32
    };
    let healthy: Vec<u32> = priorities.iter().map(|p| share(p.healthy, p.total)).collect();
    let degraded: Vec<u32> = priorities.iter().map(|p| share(p.degraded, p.total)).collect();
    let available = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    if available > 0 {
        let left = distribute(&healthy, 100, available, |at, load| loads[at].healthy = load);
        let left = distribute(&degraded, left, available, |at, load| loads[at].degraded = load);
        // Errors of rounding go to the first that can take anything.
        match healthy.iter().position(|share| *share > 0) {
            Some(first) => loads[first].healthy += left,
            None => {
                if let Some(first) = degraded.iter().position(|share| *share > 0) {
                    loads[first].degraded += left;
                }
            }
        }
    } else if panic_threshold == 0 {
        if let Some(first) = loads.first_mut() {
            first.healthy = 100;
        }
        return loads;
    }
    if available < 100 {
        for (load, counts) in loads.iter_mut().zip(priorities) {
            let usable = (counts.healthy + counts.degraded) * 100;
            load.panics = counts.total == 0 || usable < counts.total * u64::from(panic_threshold);
        }
    }
    if loads.iter().all(|load| load.panics) {
        by_size(priorities, &mut loads);
    }
    loads
}

/// Gives each its share of `total`, in order, as long as there is any; what is left.
fn distribute(shares: &[u32], mut total: u32, available: u32, mut give: impl FnMut(usize, u32)) -> u32 {
    for (at, share) in shares.iter().enumerate() {
        let load = total.min(share * 100 / available);
        give(at, load);
        total -= load;
    }
    total
}

/// Everything panics: load by the number of endpoints.
fn by_size(priorities: &[Counts], loads: &mut [Load]) {
    let total: u64 = priorities.iter().map(|counts| counts.total).sum();
    let mut left = 100;
    for (load, counts) in loads.iter_mut().zip(priorities) {
        load.degraded = 0;
        load.healthy = (100 * counts.total).checked_div(total).unwrap_or(0) as u32;
        left -= load.healthy;
    }
    let first = priorities.iter().position(|counts| counts.total > 0).unwrap_or(0);
    if let Some(first) = loads.get_mut(first) {
        first.healthy += left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (healthy load, degraded load, panics) of priorities of 100 endpoints with so many healthy and degraded.
    fn of(priorities: &[(u64, u64)]) -> Vec<(u32, u32, bool)> {
        let counts: Vec<_> = priorities
            .iter()
            .map(|(healthy, degraded)| Counts { total: 100, healthy: *healthy, degraded: *degraded })
            .collect();
        loads(&counts, 140, 50).into_iter().map(|load| (load.healthy, load.degraded, load.panics)).collect()
    }

    /// The tables of Envoy's documentation ("Priority levels", "Degraded endpoints", "Panic threshold").
    #[test]
    fn loads_are_those_of_envoys_tables() {
        assert_eq!(of(&[(100, 0), (100, 0)]), [(100, 0, false), (0, 0, false)]);
        assert_eq!(of(&[(72, 0), (72, 0)]), [(100, 0, false), (0, 0, false)]);
        assert_eq!(of(&[(71, 0), (71, 0)]), [(99, 0, false), (1, 0, false)]);
        assert_eq!(of(&[(50, 0), (60, 0)]), [(70, 0, false), (30, 0, false)]);
        assert_eq!(of(&[(25, 0), (100, 0)]), [(35, 0, false), (65, 0, false)]);
        assert_eq!(of(&[(25, 0), (25, 0)]), [(50, 0, true), (50, 0, true)]);
        assert_eq!(of(&[(0, 0), (0, 0)]), [(50, 0, true), (50, 0, true)]);
        assert_eq!(of(&[(5, 0), (65, 0)]), [(8, 0, true), (92, 0, false)]);
        assert_eq!(of(&[(50, 50), (0, 0)]), [(70, 30, false), (0, 0, false)]);
    }

    #[test]
    fn three_priorities_share_what_is_missing() {
        assert_eq!(of(&[(20, 0), (20, 0), (20, 0)]), [(34, 0, true), (33, 0, true), (33, 0, true)]);
        assert_eq!(of(&[(20, 0), (20, 0), (100, 0)]), [(28, 0, false), (28, 0, false), (44, 0, false)]);
    }

    #[test]
    fn without_panic_a_priority_without_endpoints_takes_the_load_in_vain() {
        let none = Counts { total: 2, healthy: 0, degraded: 0 };
        assert_eq!(loads(&[none], 140, 0), [Load { healthy: 100, degraded: 0, panics: false }]);
        assert_eq!(loads(&[], 140, 50), []);
    }
}
