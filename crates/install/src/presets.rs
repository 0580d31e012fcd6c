//! Values that commands stand for: the profiles of `lateen install`, the gateways of `lateen gateway enable`.

use crate::values::{Values, ValuesError};

/// What `lateen install` installs. The names are Istio's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Control plane and ingress gateway, for production.
    #[default]
    Default,
    /// Control plane, ingress and egress gateway with access logs, and with as little as tutorials need.
    Demo,
    /// The control plane alone.
    Minimal,
}

impl Profile {
    /// The profile's values, to be laid over those of the chart `istio`.
    ///
    /// # Errors
    /// Never: the texts are part of the program and tested.
    pub fn values(self) -> Result<Values, ValuesError> {
        match self {
            Profile::Default => Values::parse("profile default", include_str!("../profiles/default.yaml")),
            Profile::Demo => Values::parse("profile demo", include_str!("../profiles/demo.yaml")),
            Profile::Minimal => Values::parse("profile minimal", include_str!("../profiles/minimal.yaml")),
        }
    }
}

/// Namespace of the external and the internal ingress gateway.
pub const GATEWAY_NAMESPACE: &str = "aks-istio-ingress";

/// Who may reach a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Everybody.
    External,
    /// Private addresses only.
    Internal,
}

/// One of the ingress gateways that are enabled and disabled by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayKind(pub Traffic);

impl GatewayKind {
    /// The name of its Service, and the `istio` label of its pods.
    pub fn name(self) -> &'static str {
        match self.0 {
            Traffic::External => "aks-istio-ingressgateway-external",
            Traffic::Internal => "aks-istio-ingressgateway-internal",
        }
    }

    /// Its values, to be laid over those of the chart `gateway`.
    ///
    /// # Errors
    /// Never: the texts are part of the program and tested.
    pub fn values(self) -> Result<Values, ValuesError> {
        match self.0 {
            Traffic::External => Values::parse(
                "preset external",
                include_str!("../../../charts/gateway/presets/external.yaml"),
            ),
            Traffic::Internal => Values::parse(
                "preset internal",
                include_str!("../../../charts/gateway/presets/internal.yaml"),
            ),
        }
    }
}
