use super::*;
use crate::SpiffeId;

const HOUR: Duration = Duration::from_secs(3600);

fn verify(authority: &Authority, leaf: &Leaf) -> Result<(), String> {
    let root = X509Certificate::from_der(authority.certificate()).unwrap().1;
    let certificate = X509Certificate::from_der(&leaf.chain()[0]).unwrap().1;
    certificate.verify_signature(Some(root.public_key())).map_err(|e| e.to_string())
}

#[test]
fn a_leaf_carries_what_was_asked_for_and_is_signed() {
    let authority = Authority::create("cluster.local", HOUR).unwrap();
    let request = LeafRequest {
        identities: vec![SpiffeId::new("cluster.local", "default", "sleep").unwrap()],
        ..LeafRequest::server(["localhost", "10.96.0.1", "*.example.com"], HOUR)
    };
    let leaf = authority.issue(&request).unwrap();
    verify(&authority, &leaf).unwrap();
    let (_, certificate) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let text: Vec<String> = names.iter().map(ToString::to_string).collect();
    for expected in ["localhost", "*.example.com", "spiffe://cluster.local/ns/default/sa/sleep"] {
        assert!(text.iter().any(|name| name.contains(expected)), "{expected} in {text:?}");
    }
    assert_eq!(names.len(), 4);
    assert!(!certificate.is_ca());
}

#[test]
fn a_kubernetes_client_is_named_by_user_and_group() {
    let authority = Authority::create("kubernetes", HOUR).unwrap();
    let leaf = authority.issue(&LeafRequest::client("admin", "system:masters", HOUR)).unwrap();
    let (_, certificate) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
    let groups: Vec<&str> = certificate.subject().iter_organization().map(|o| o.as_str().unwrap()).collect();
    assert_eq!(groups, ["system:masters"]);
    assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap(), "admin");
}

#[test]
fn an_authority_read_back_signs_for_the_same_root() {
    let authority = Authority::create("cluster.local", HOUR).unwrap();
    let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
    let leaf = again.issue(&LeafRequest::server(["istiod.istio-system.svc"], HOUR)).unwrap();
    verify(&authority, &leaf).unwrap();
}

#[test]
fn what_cannot_sign_is_refused() {
    let authority = Authority::create("cluster.local", HOUR).unwrap();
    let other = Authority::create("cluster.local", HOUR).unwrap();
    let leaf = authority.issue(&LeafRequest::server(["a"], HOUR)).unwrap();
    let pair = |certificate: &str, key: &str| Authority::from_pem(certificate, key).unwrap_err();
    assert!(matches!(pair(leaf.chain_pem(), leaf.key_pem()), IdentityError::NotAuthority));
    assert!(matches!(pair(authority.certificate_pem(), &other.key_pem()), IdentityError::KeyMismatch));
    assert!(matches!(pair("", &other.key_pem()), IdentityError::Pem { what: "certificate", .. }));
    assert!(matches!(pair(authority.certificate_pem(), "x"), IdentityError::Pem { what: "private key", .. }));
}

#[test]
fn a_plugged_authority_sends_its_chain_and_trusts_its_roots() {
    let now = SystemTime::now();
    let root = Authority::create("root", 10 * HOUR).unwrap();
    let middle = root.intermediate("middle", 5 * HOUR, now).unwrap();
    let lower = middle.intermediate("lower", 2 * HOUR, now).unwrap();
    let chain = lower.chain_pem();
    let read =
        Authority::plugged(lower.certificate_pem(), &lower.key_pem(), &chain, root.certificate_pem(), now)
            .unwrap();
    let identity = SpiffeId::new("cluster.local", "a", "b").unwrap();
    let made = crate::KeyRequest::create(KeyKind::P256, &identity).unwrap();
    let request = SigningRequest::parse(made.csr_pem()).unwrap();
    let signed = read.sign(&request, std::slice::from_ref(&identity), 10 * HOUR, now).unwrap();
    assert_eq!(signed.len(), 3, "leaf, lower, middle; the root is known to the peer");
    assert!(made.is_certified_by(&signed[0]).unwrap());
    let (_, end) = bundle::pem_validity(&signed[0]).unwrap();
    assert!(end <= now + 2 * HOUR, "no longer than its issuer");
    assert_eq!(crate::identities(&pem::certificates(&signed[0], "c").unwrap()[0]), [identity]);

    // What the root is does not change what a peer verifies.
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        std::sync::Arc::new(root.roots().unwrap()),
        std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    )
    .build()
    .unwrap();
    let chain: Vec<_> = signed.iter().flat_map(|c| pem::certificates(c, "c").unwrap()).collect();
    let now = rustls::pki_types::UnixTime::now();
    verifier.verify_client_cert(&chain[0], &chain[1..], now).unwrap();
}

#[test]
fn what_does_not_lead_to_a_root_is_refused() {
    let now = SystemTime::now();
    let (root, other) = (Authority::create("root", HOUR).unwrap(), Authority::create("root", HOUR).unwrap());
    let lower = root.intermediate("lower", HOUR, now).unwrap();
    let plugged = |key: &str, chain: &str, roots: &str, now| {
        Authority::plugged(lower.certificate_pem(), key, chain, roots, now).unwrap_err()
    };
    let key = lower.key_pem();
    // Another root with the same name.
    let error = plugged(&key, "", other.certificate_pem(), now);
    assert!(matches!(error, IdentityError::Chain { .. }), "{error}");
    let error = plugged(&other.key_pem(), "", root.certificate_pem(), now);
    assert!(matches!(error, IdentityError::KeyMismatch), "{error}");
    let error = plugged(&key, "", root.certificate_pem(), now + 2 * HOUR);
    assert!(error.to_string().contains("expired"), "{error}");
    let error = plugged(&key, "", root.certificate_pem(), now - HOUR);
    assert!(error.to_string().contains("not come yet"), "{error}");
    assert!(matches!(plugged(&key, "nonsense", root.certificate_pem(), now), IdentityError::Pem { .. }));
}

#[test]
fn an_authority_that_has_expired_signs_nothing() {
    let authority = Authority::create("a", HOUR).unwrap();
    let identity = SpiffeId::new("cluster.local", "a", "b").unwrap();
    let made = crate::KeyRequest::create(KeyKind::P256, &identity).unwrap();
    let request = SigningRequest::parse(made.csr_pem()).unwrap();
    let later = SystemTime::now() + 2 * HOUR;
    let error = authority.sign(&request, &[identity], HOUR, later).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_renewed_root_vouches_for_what_the_old_one_signed() {
    let now = SystemTime::now();
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let old = Authority::create_with("a", kind, HOUR, now).unwrap();
        let leaf = old.issue(&LeafRequest::server(["a"], HOUR)).unwrap();
        let new = old.renewed("a", 10 * HOUR, now).unwrap();
        assert!(new.not_after() > old.not_after());
        verify(&new, &leaf).unwrap();
    }
}

#[test]
fn no_serial_number_is_given_twice() {
    let authority = Authority::create("a", HOUR).unwrap();
    let identity = SpiffeId::new("cluster.local", "a", "b").unwrap();
    let made = crate::KeyRequest::create(KeyKind::P256, &identity).unwrap();
    let request = SigningRequest::parse(made.csr_pem()).unwrap();
    let serial = || {
        let signed =
            authority.sign(&request, std::slice::from_ref(&identity), HOUR, SystemTime::now()).unwrap();
        let der = pem::certificates(&signed[0], "c").unwrap().remove(0);
        X509Certificate::from_der(&der).unwrap().1.raw_serial_as_string()
    };
    assert_ne!(serial(), serial());
}

#[test]
fn tls_accepts_leaf_and_roots() {
    let authority = Authority::create("cluster.local", HOUR).unwrap();
    let leaf = authority.issue(&LeafRequest::server(["localhost"], HOUR)).unwrap();
    let config = leaf.server_config(&["h2"], Some(authority.roots().unwrap())).unwrap();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
}

#[test]
fn a_name_outside_ascii_is_refused_by_name() {
    let authority = Authority::create("cluster.local", HOUR).unwrap();
    let error = authority.issue(&LeafRequest::server(["bücher.example"], HOUR)).unwrap_err();
    assert!(error.to_string().contains("bücher.example"));
}
