//! Service ports whose protocol has to be guessed.

use lateen_mesh::{Kind, Mesh, Origin, Protocol};

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    for service in mesh.services.all().iter().filter(|s| s.origin == Origin::Kubernetes) {
        for port in service.ports.iter().filter(|p| p.protocol == Protocol::Auto) {
            findings.push(Finding::new(
                Code::PortNameIsNotUnderNamingConvention,
                Severity::Info,
                key(Kind::Service, &service.meta),
                format!("spec.ports[{}]", port.number),
                format!(
                    "the name {:?} of port {} does not tell its protocol, which is guessed for each connection",
                    port.name, port.number
                ),
                "name it PROTOCOL or PROTOCOL-NAME (http, grpc, tcp, tls, ...), or set appProtocol",
            ));
        }
    }
}
