use crate::template::{Expr, values};

/// Where a gateway's settings stand: Istio names them otherwise in its gateway chart than in `gateways.<name>`.
pub struct Fields {
    service_type: &'static str,
    load_balancer_ip: &'static str,
    load_balancer_class: &'static str,
    source_ranges: &'static str,
    traffic_policy: &'static str,
    ip_family_policy: &'static str,
    ip_families: &'static str,
    service_annotations: &'static str,
    ports: &'static str,
    autoscale: &'static str,
    autoscale_min: &'static str,
    autoscale_max: &'static str,
    autoscale_cpu: &'static str,
    budget: &'static str,
    proxy_config: &'static str,
    /// Whether the control plane runs in the release's own namespace.
    pub beside: bool,
}

/// The chart `gateway`.
pub const OWN: Fields = Fields {
    service_type: "service.type",
    load_balancer_ip: "service.loadBalancerIP",
    load_balancer_class: "service.loadBalancerClass",
    source_ranges: "service.loadBalancerSourceRanges",
    traffic_policy: "service.externalTrafficPolicy",
    ip_family_policy: "service.ipFamilyPolicy",
    ip_families: "service.ipFamilies",
    service_annotations: "service.annotations",
    ports: "service.ports",
    autoscale: "autoscaling.enabled",
    autoscale_min: "autoscaling.minReplicas",
    autoscale_max: "autoscaling.maxReplicas",
    autoscale_cpu: "autoscaling.targetCPUUtilizationPercentage",
    budget: "podDisruptionBudget",
    proxy_config: "proxyConfig",
    beside: false,
};

/// `gateways.<name>` of the chart `istio`.
pub const BESIDE: Fields = Fields {
    service_type: "type",
    load_balancer_ip: "loadBalancerIP",
    load_balancer_class: "loadBalancerClass",
    source_ranges: "loadBalancerSourceRanges",
    traffic_policy: "externalTrafficPolicy",
    ip_family_policy: "ipFamilyPolicy",
    ip_families: "ipFamilies",
    service_annotations: "serviceAnnotations",
    ports: "ports",
    autoscale: "autoscaleEnabled",
    autoscale_min: "autoscaleMin",
    autoscale_max: "autoscaleMax",
    autoscale_cpu: "cpu.targetAverageUtilization",
    budget: "podDisruptionBudget",
    proxy_config: "meshConfig.defaultConfig",
    beside: true,
};

/// A setting that has the same name in both.
pub fn gateway(path: &str) -> Expr {
    Expr::Local("gateway", path.to_owned())
}

/// The gateway's name.
pub fn name() -> Expr {
    Expr::Local("name", String::new())
}

/// The gateway's name without `istio-`: the label `istio`, by which Gateway resources select it.
pub fn short() -> Expr {
    Expr::Local("short", String::new())
}

impl Fields {
    pub fn service_type(&self) -> Expr {
        gateway(self.service_type)
    }

    pub fn load_balancer_ip(&self) -> Expr {
        gateway(self.load_balancer_ip)
    }

    pub fn load_balancer_class(&self) -> Expr {
        gateway(self.load_balancer_class)
    }

    pub fn source_ranges(&self) -> Expr {
        gateway(self.source_ranges)
    }

    pub fn traffic_policy(&self) -> Expr {
        gateway(self.traffic_policy)
    }

    pub fn ip_family_policy(&self) -> Expr {
        gateway(self.ip_family_policy)
    }

    pub fn ip_families(&self) -> Expr {
        gateway(self.ip_families)
    }

    pub fn service_annotations(&self) -> Expr {
        gateway(self.service_annotations)
    }

    pub fn ports(&self) -> Expr {
        gateway(self.ports)
    }

    pub fn autoscale(&self) -> Expr {
        gateway(self.autoscale)
    }

    pub fn autoscale_min(&self) -> Expr {
        gateway(self.autoscale_min)
    }

    pub fn autoscale_max(&self) -> Expr {
        gateway(self.autoscale_max)
    }

    pub fn autoscale_cpu(&self) -> Expr {
        gateway(self.autoscale_cpu)
    }

    pub fn budget(&self) -> Expr {
        gateway(self.budget)
    }

    pub fn proxy_config(&self) -> Expr {
        values(self.proxy_config)
    }

    /// The namespace of the control plane.
    pub fn control_plane(&self) -> Expr {
        if self.beside { Expr::Namespace } else { values("global.istioNamespace") }
    }
}
