//! The charts: their templates are described here, and printed into `charts/` by `cargo xtask charts`.

mod base;
mod cni;
mod common;
mod gateway;
mod istiod;

use crate::template::Template;
use crate::values::{Values, ValuesError};

/// What stands behind the control plane's name and namespace: where gateways get configuration and certificates.
const XDS_ADDRESS_END: &str = ".svc:15012";

/// A chart: its name, the text of its values, and its templates.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The folder below `charts/`.
    pub name: &'static str,
    /// `values.yaml`.
    pub values: &'static str,
    /// `values.schema.json`.
    pub schema: &'static str,
    /// The files of `templates` with their content.
    pub templates: Vec<(&'static str, Template)>,
}

macro_rules! chart {
    ($name:literal, $templates:expr) => {
        Chart {
            name: $name,
            values: include_str!(concat!("../../../../charts/", $name, "/values.yaml")),
            schema: include_str!(concat!("../../../../charts/", $name, "/values.schema.json")),
            templates: $templates,
        }
    };
}

impl Chart {
    /// CRDs, cluster roles, validation.
    pub fn base() -> Chart {
        chart!("base", base::templates())
    }

    /// The control plane.
    pub fn istiod() -> Chart {
        chart!("istiod", istiod::templates())
    }

    /// The CNI plugin.
    pub fn cni() -> Chart {
        chart!("cni", cni::templates())
    }

    /// A gateway.
    pub fn gateway() -> Chart {
        chart!("gateway", gateway::templates())
    }

    /// All of it: base, control plane, ingress and egress gateway, and the CNI plugin if it is enabled.
    pub fn istio() -> Chart {
        let mut templates = base::templates();
        templates.extend(istiod::templates());
        templates.push(gateway::beside_the_control_plane());
        templates.push(cni::beside_the_control_plane());
        chart!("istio", templates)
    }

    /// Every chart.
    pub fn all() -> [Chart; 5] {
        [Chart::base(), Chart::istiod(), Chart::cni(), Chart::gateway(), Chart::istio()]
    }

    /// The chart's generated files, by their path in the chart.
    ///
    /// # Errors
    /// `values.yaml` cannot be read.
    pub fn generated(&self) -> Result<Vec<(String, String)>, ValuesError> {
        let defaults = Values::parse("values.yaml", self.values)?;
        let schema = crate::schema::schema(defaults.value());
        let mut files = vec![("values.schema.json".to_owned(), format!("{schema:#}\n"))];
        for (name, template) in &self.templates {
            files.push((format!("templates/{name}"), template.print()));
            if matches!(template, Template::Definitions) {
                files.push(("files/crds.yaml".to_owned(), crate::release::definitions_file()));
            }
        }
        Ok(files)
    }
}
