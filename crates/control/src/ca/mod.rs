//! The certificate authority: what it signs with, what the mesh trusts, and the service that workloads call.

mod external;
mod history;
mod keeper;
mod mesh_roots;
mod metrics;
mod objects;
mod options;
mod root_map;
mod rotation;
mod service;
mod serving;
mod standing;
mod trust_domains;

pub use external::{ExternalOptions, ExternalSigner};
pub use keeper::{Keeper, start};
pub use mesh_roots::{MeshRoots, MeshRootsChanges};
pub use metrics::CaMetrics;
pub use options::CaOptions;
pub use root_map::keep as keep_root_maps;
pub use rotation::{Retired, Rotation};
pub use service::CertificateService;
pub use serving::{ServingTls, keep as keep_serving};
pub use standing::{Authorities, Standing};
pub use trust_domains::TrustDomains;
