//! Replacing an authority without a gap: what signs, and what the mesh trusts, at each moment. Pure; the time is given.
//!
//! A new root is made known first, and signs only after everyone can have heard of it; an old one stays trusted
//! until the last certificate that it signed has ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lateen_identity::{Authority, TrustBundle};
use rustls::pki_types::CertificateDer;

/// What signs and what is trusted, over time.
#[derive(Debug)]
pub struct Rotation {
    /// How long it takes until every workload trusts a root that was published.
    propagation: Duration,
    issuer: Option<Arc<Authority>>,
    coming: Option<Coming>,
    retired: Vec<Retired>,
    /// When the last certificate ends that may have been signed, as far as is known.
    issued_until: SystemTime,
}

#[derive(Debug)]
struct Coming {
    authority: Arc<Authority>,
    at: SystemTime,
}

/// A root that signs no more, but is trusted until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The root.
    pub root: CertificateDer<'static>,
    /// When the last certificate below it ends.
    pub until: SystemTime,
}

impl Rotation {
    /// Starts with roots that an earlier process had published. Certificates that it signed may live until
    /// `issued_until`.
    pub fn new(propagation: Duration, earlier: Vec<Retired>, issued_until: SystemTime) -> Self {
        Rotation { propagation, issuer: None, coming: None, retired: earlier, issued_until }
    }

    /// The authority that signs.
    pub fn issuer(&self) -> Option<&Arc<Authority>> {
        self.issuer.as_ref()
    }

    /// The authority that signs, or the one that soon will.
    pub fn best(&self) -> Option<&Arc<Authority>> {
        self.issuer.as_ref().or(self.coming.as_ref().map(|coming| &coming.authority))
    }

    /// Everything that is trusted.
    pub fn trust(&self) -> TrustBundle {
        let mut trust = TrustBundle::default();
        let authorities = self.issuer.iter().chain(self.coming.iter().map(|coming| &coming.authority));
        authorities.for_each(|authority| trust.extend(authority.trust()));
        self.retired.iter().for_each(|retired| trust.add(retired.root.clone()));
        trust
    }

    /// Roots that are trusted although they sign no more.
    pub fn retired(&self) -> &[Retired] {
        &self.retired
    }

    /// A certificate was signed that ends then.
    pub fn issued(&mut self, until: SystemTime) {
        self.issued_until = self.issued_until.max(until);
    }

    /// Takes a new authority: it signs at once if it leads to a root that is trusted already, else after the time
    /// that trust takes to spread.
    pub fn offer(&mut self, authority: Arc<Authority>, now: SystemTime) {
        if self.issuer.as_ref().is_some_and(|issuer| issuer.is_same(&authority)) {
            self.coming = None;
            return;
        }
        if self.coming.as_ref().is_some_and(|coming| coming.authority.is_same(&authority)) {
            return;
        }
        let published = self.published();
        if published.is_empty() || published.vouches_for(authority.anchor()) {
            self.coming = None;
            self.install(authority, now);
        } else {
            self.coming = Some(Coming { authority, at: now + self.propagation });
        }
    }

    /// What was trusted before the coming authority was.
    fn published(&self) -> TrustBundle {
        let mut trust = self.issuer.as_ref().map(|issuer| issuer.trust().clone()).unwrap_or_default();
        self.retired.iter().for_each(|retired| trust.add(retired.root.clone()));
        trust
    }

    fn install(&mut self, authority: Arc<Authority>, now: SystemTime) {
        let until = self.issued_until.max(now);
        if let Some(old) = self.issuer.replace(Arc::clone(&authority)) {
            let known: Vec<_> = self.retired.iter().map(|retired| retired.root.clone()).collect();
            let leaving = old.trust().certificates().iter().filter(|root| !known.contains(root));
            self.retired.extend(leaving.map(|root| Retired { root: root.clone(), until }));
        }
        self.retired.retain(|retired| !authority.trust().contains(&retired.root));
    }

    /// Does what is due. Returns when to be called next.
    pub fn step(&mut self, now: SystemTime) -> Option<SystemTime> {
        if let Some(coming) = self.coming.take_if(|coming| coming.at <= now) {
            self.install(coming.authority, now);
        }
        self.retired.retain(|retired| retired.until > now);
        let coming = self.coming.as_ref().map(|coming| coming.at);
        coming.into_iter().chain(self.retired.iter().map(|retired| retired.until)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn authority(name: &str) -> Arc<Authority> {
        Arc::new(Authority::create(name, 100 * HOUR).unwrap())
    }

    fn issuer(rotation: &Rotation) -> &Authority {
        rotation.issuer().unwrap()
    }

    #[test]
    fn a_new_root_is_trusted_first_and_signs_later_and_the_old_one_outlives_its_certificates() {
        let now = SystemTime::now();
        let mut rotation = Rotation::new(MINUTE, Vec::new(), now);
        let (old, new) = (authority("old"), authority("new"));
        rotation.offer(old.clone(), now);
        assert!(issuer(&rotation).is_same(&old), "the first one signs at once");

        rotation.issued(now + 2 * HOUR);
        rotation.offer(new.clone(), now + HOUR);
        assert!(issuer(&rotation).is_same(&old));
        assert!(rotation.trust().contains(new.certificate()), "trusted before it signs");
        assert_eq!(rotation.step(now + HOUR), Some(now + HOUR + MINUTE));

        assert_eq!(rotation.step(now + HOUR + MINUTE), Some(now + 2 * HOUR));
        assert!(issuer(&rotation).is_same(&new));
        assert!(rotation.trust().contains(old.certificate()), "trusted while its certificates live");

        assert_eq!(rotation.step(now + 2 * HOUR), None);
        assert_eq!(rotation.trust(), *new.trust());
    }

    #[test]
    fn an_intermediate_below_a_trusted_root_signs_at_once() {
        let now = SystemTime::now();
        let mut rotation = Rotation::new(MINUTE, Vec::new(), now);
        let root = authority("root");
        let below = |name| Arc::new(root.intermediate(name, HOUR, now).unwrap());
        let (one, two) = (below("one"), below("two"));
        rotation.offer(one, now);
        rotation.offer(two.clone(), now);
        assert!(issuer(&rotation).is_same(&two));
        assert_eq!(rotation.trust().certificates().len(), 1);
    }

    #[test]
    fn a_renewed_root_signs_at_once() {
        let now = SystemTime::now();
        let mut rotation = Rotation::new(MINUTE, Vec::new(), now);
        let old = authority("root");
        let renewed = Arc::new(old.renewed("root", 200 * HOUR, now).unwrap());
        rotation.offer(old, now);
        rotation.offer(renewed.clone(), now);
        assert!(issuer(&rotation).is_same(&renewed));
    }

    #[test]
    fn after_a_restart_a_root_that_nobody_knows_waits_its_turn() {
        let now = SystemTime::now();
        let (old, new) = (authority("old"), authority("new"));
        let earlier = vec![Retired { root: old.certificate().clone(), until: now + HOUR }];
        let mut rotation = Rotation::new(MINUTE, earlier.clone(), now + HOUR);
        rotation.offer(new.clone(), now);
        assert!(rotation.issuer().is_none());
        assert!(rotation.best().unwrap().is_same(&new));
        rotation.step(now + MINUTE);
        assert!(issuer(&rotation).is_same(&new));
        assert!(rotation.trust().contains(old.certificate()));

        // The same authority as before signs at once.
        let mut rotation = Rotation::new(MINUTE, earlier, now + HOUR);
        rotation.offer(old.clone(), now);
        assert!(issuer(&rotation).is_same(&old));
        assert!(rotation.retired().is_empty());
    }

    #[test]
    fn a_change_of_mind_leaves_no_trace() {
        let now = SystemTime::now();
        let mut rotation = Rotation::new(MINUTE, Vec::new(), now);
        let (old, new) = (authority("old"), authority("new"));
        rotation.offer(old.clone(), now);
        rotation.offer(new, now);
        rotation.offer(old.clone(), now);
        assert_eq!(rotation.trust(), *old.trust());
        assert_eq!(rotation.step(now + HOUR), None);
        assert!(issuer(&rotation).is_same(&old));
    }
}
