//! The manifests that `up` applies: the mesh's own system and the demos.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::core::DynamicObject;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const SYSTEM: [(&str, &str); 3] = [
    ("istiod-rbac.yaml", include_str!("../manifests/istiod-rbac.yaml")),
    ("istiod.yaml", include_str!("../manifests/istiod.yaml")),
    ("gateways.yaml", include_str!("../manifests/gateways.yaml")),
];

/// A demo: its namespace, which is injected, and its manifests in order.
struct DemoFiles {
    name: &'static str,
    namespace: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const DEMOS: [DemoFiles; 2] = [
    DemoFiles {
        name: "bookinfo",
        namespace: "default",
        files: &[
            ("bookinfo.yaml", include_str!("../../../samples/bookinfo/bookinfo.yaml")),
            ("gateway.yaml", include_str!("../../../samples/bookinfo/gateway.yaml")),
        ],
    },
    DemoFiles {
        name: "voting",
        namespace: "voting",
        files: &[
            ("step-1-app.yaml", include_str!("../../../samples/voting/step-1-app.yaml")),
            ("step-1-gateway.yaml", include_str!("../../../samples/voting/step-1-gateway.yaml")),
        ],
    },
];

/// A demo's objects.
#[derive(Debug)]
pub struct DemoManifests {
    /// The namespace that they are in.
    pub namespace: &'static str,
    /// All of them, in order.
    pub objects: Vec<DynamicObject>,
}

/// What is filled into the system's manifests.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Image of every role.
    pub image: &'a str,
    /// Socket mark that exempts the proxy from redirection where it cannot run as user 1337; else empty.
    pub socket_mark: &'a str,
    /// Envoy to run instead of Lateen's own proxy; else empty.
    pub proxy_binary: &'a str,
    /// Whether the ingress gateway gets the NodePorts that the tutorials know, 31380 and 31390.
    pub well_known_ports: bool,
}

/// The system's objects, in the order in which they are created.
pub fn system(settings: &Settings<'_>) -> Result<Vec<DynamicObject>> {
    let port = |number: u16| match settings.well_known_ports {
        true => format!(", nodePort: {number}"),
        false => String::new(),
    };
    let mut objects = Vec::new();
    for (name, text) in SYSTEM {
        let text = text
            .replace("${IMAGE}", settings.image)
            .replace("${SOCKET_MARK}", settings.socket_mark)
            .replace("${PROXY_BINARY}", settings.proxy_binary)
            .replace("${NODE_PORT_HTTP}", &port(31380))
            .replace("${NODE_PORT_HTTPS}", &port(31390));
        objects.extend(parse(name, &text)?);
    }
    Ok(objects)
}

/// The objects of a demo; the error names the demos that there are.
pub fn demo(name: &str) -> Result<DemoManifests> {
    let names: Vec<_> = DEMOS.iter().map(|demo| demo.name).collect();
    let demo = DEMOS
        .iter()
        .find(|demo| demo.name == name)
        .with_context(|| format!("there is no demo {name:?}; there is: {}", names.join(", ")))?;
    let mut objects = Vec::new();
    for (file, text) in demo.files {
        objects.extend(parse(file, text)?);
    }
    for object in &mut objects {
        object.metadata.namespace = Some(demo.namespace.to_owned());
        // As if by `kubectl apply`, which goes on from here in the tutorials.
        let applied = serde_json::to_string(object)?;
        object.annotations_mut().insert(LAST_APPLIED.to_owned(), applied);
    }
    Ok(DemoManifests { namespace: demo.namespace, objects })
}

fn parse(name: &str, text: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).with_context(|| format!("manifest {name}"))?;
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| serde_json::from_value(document).with_context(|| format!("manifest {name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings<'static> {
        Settings {
            image: "example.com/lateen:1",
            socket_mark: "1337",
            proxy_binary: "",
            well_known_ports: true,
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let objects = system(&settings()).unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        assert!(!text.contains("${"), "{text}");
        assert!(text.contains("\"nodePort\":31380"));
    }

    #[test]
    fn an_unknown_demo_is_answered_with_those_that_exist() {
        assert_eq!(demo("bookinfo").unwrap().objects.len(), 16);
        assert!(demo("nope").unwrap_err().to_string().contains("bookinfo"));
    }

    #[test]
    fn a_demo_lies_in_its_namespace() {
        let voting = demo("voting").unwrap();
        assert_eq!(voting.objects.len(), 8);
        assert!(voting.objects.iter().all(|object| object.metadata.namespace.as_deref() == Some("voting")));
    }
}
