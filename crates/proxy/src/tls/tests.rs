use std::sync::Arc;

use super::*;

fn store() -> SecretStore {
    SecretStore::default()
}

#[test]
fn a_place_lives_as_long_as_something_uses_it() {
    let store = store();
    let slot = store.slot(Source::Ads, "kubernetes://web");
    assert!(Arc::ptr_eq(&slot, &store.slot(Source::Ads, "kubernetes://web")));
    assert!(!slot.is_settled());
    drop(slot);
    assert!(store.all().is_empty());
}

#[test]
fn a_stream_keeps_the_places_that_it_asked_for_until_nothing_uses_them() {
    let store = store();
    let slot = store.slot(Source::Ads, "a");
    store.slot(Source::Static, "b");
    let mut held = Held::default();
    assert_eq!(held.refresh(&store, &Source::Ads).len(), 1);
    // Given up and taken up again before the stream looks: the same place, so that nothing need be sent again.
    slot.set(Secret::Generic([1].into()), "1");
    drop(slot);
    let again = store.slot(Source::Ads, "a");
    assert!(again.load().is_some());
    drop(again);
    assert!(held.refresh(&store, &Source::Ads).is_empty());
}

#[test]
fn a_secret_that_does_not_exist_is_not_waited_for_and_what_was_there_stays() {
    let store = store();
    let slot = store.slot(Source::Ads, "a");
    slot.set_missing();
    assert!(slot.is_settled() && slot.load().is_none());
    slot.set(Secret::Generic([1].into()), "1");
    slot.set_missing();
    slot.set_rejected("2", "tls_certificate.private_key: junk");
    assert!(slot.load().is_some());
    let history = slot.history();
    assert_eq!((history.version.as_str(), history.error.unwrap().1.as_str()), ("1", "2"));
}

#[test]
fn trust_of_a_combined_context_is_never_less_than_either_part() {
    let by_name = Validation { accept_untrusted: false, hashes: vec![[1; 32]], ..Validation::default() };
    let merged = by_name.merged(&Validation { hashes: vec![[2; 32]], ..Validation::default() });
    assert_eq!(merged.hashes, [[1; 32], [2; 32]]);
    let context = CommonContext { trust: Trust::Fixed(Arc::default()), ..CommonContext::default() };
    let error = TlsServer::new(context, ServerOptions::default()).unwrap_err();
    assert!(error.contains("names no authority"), "{error}");
}

#[test]
fn suites_and_curves_are_known_by_boringssls_names() {
    let mut parameters = Parameters::default();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    parameters.restrict(&names(&["[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"]), &names(&["P-256"])).unwrap();
    assert_eq!(parameters.provider.kx_groups.len(), 1);
    assert_eq!(parameters.provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
    assert!(parameters.restrict(&names(&["NULL"]), &[]).unwrap_err().contains("`NULL`"));
    // What BoringSSL knows and we do not have is left out, unless nothing else remains.
    parameters.restrict(&[], &names(&["P-521", "P-384"])).unwrap();
    assert_eq!(parameters.provider.kx_groups.len(), 1);
    assert!(parameters.restrict(&[], &names(&["P-521"])).unwrap_err().contains("P-521"));
    assert!(parameters.restrict(&[], &names(&["P-384", "P-512"])).unwrap_err().contains("P-512"));
    for name in ["ECDHE-PSK-CHACHA20-POLY1305", "TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"] {
        assert!(Suite::parse(name).unwrap().is_none(), "{name}");
    }
    // Suites that are all too weak leave TLS 1.3 alone.
    parameters.restrict(&names(&["AES128-SHA"]), &[]).unwrap();
    assert_eq!(parameters.versions.len(), 1);
}
