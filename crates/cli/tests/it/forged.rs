//! Certificates that somebody might show to a workload: one that is good, and those that must be refused.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::harness::Mesh;

/// One certificate, and what is wrong with it.
#[derive(Clone, Copy)]
pub struct Forgery {
    pub name: &'static str,
    uri: &'static str,
    /// First and last year.
    years: (i32, i32),
    /// Whether the mesh's authority signed it.
    signed: bool,
}

const TELLER: &str = "spiffe://cluster.local/ns/bank/sa/teller";

impl Forgery {
    pub const GENUINE: Forgery = Forgery { name: "genuine", uri: TELLER, years: (2020, 2090), signed: true };
    pub const BAD: [Forgery; 4] = [
        Forgery { name: "other-domain", uri: "spiffe://evil.example/ns/bank/sa/teller", ..Forgery::GENUINE },
        Forgery { name: "expired", years: (2020, 2021), ..Forgery::GENUINE },
        Forgery { name: "not-yet", years: (2089, 2090), ..Forgery::GENUINE },
        Forgery { name: "wrong-authority", signed: false, ..Forgery::GENUINE },
    ];
}

/// Signs with the mesh's own key, which only a test could have, and with that of a stranger.
pub struct Forger {
    mesh: Issuer<'static, KeyPair>,
    stranger: Issuer<'static, KeyPair>,
}

impl Forger {
    pub fn new(mesh: &Mesh) -> Forger {
        let field = |name: &str| {
            let template = format!("go-template={{{{index .data \"{name}\" | base64decode}}}}");
            mesh.kubectl(&["-n", "istio-system", "get", "secret", "istio-ca-secret", "-o", &template])
        };
        let key = KeyPair::from_pem(&field("ca-key.pem")).unwrap();
        let mesh = Issuer::from_ca_cert_pem(&field("ca-cert.pem"), key).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Forger { mesh, stranger: Issuer::new(params, KeyPair::generate().unwrap()) }
    }

    /// Writes all certificates and keys into a folder.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for forgery in Forgery::BAD.into_iter().chain([Forgery::GENUINE]) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(forgery.uri.try_into().unwrap())];
            params.not_before = date_time_ymd(forgery.years.0, 1, 1);
            params.not_after = date_time_ymd(forgery.years.1, 1, 1);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            let issuer = if forgery.signed { &self.mesh } else { &self.stranger };
            let certificate = params.signed_by(&key, issuer).unwrap();
            fs::write(folder.join(format!("{}.pem", forgery.name)), certificate.pem()).unwrap();
            fs::write(folder.join(format!("{}.key", forgery.name)), key.serialize_pem()).unwrap();
        }
    }
}
