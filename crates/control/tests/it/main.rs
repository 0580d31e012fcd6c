//! The control plane from the outside: a Kubernetes API before it, proxies and webhooks behind it.

mod ads;
mod ads_client;
mod certificates;
mod debug;
mod envoy;
mod fake_api;
mod issuers;
mod names;
mod objects;
mod status;
mod webhooks;
mod xds_debug;

use lateen_control::ca::CaOptions;
use lateen_control::{Addresses, Control, ControlOptions, KubeAccess, Ports};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_api::FakeApi;

/// A running control plane in front of a fake API.
struct Running {
    api: FakeApi,
    addresses: Addresses,
    ca_pem: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts a control plane and waits until it is ready.
    async fn start(api: FakeApi) -> Running {
        Self::with_ca(api, CaOptions::default()).await
    }

    /// The same with settings of the certificate authority.
    async fn with_ca(api: FakeApi, ca: CaOptions) -> Running {
        let kubeconfig = api.kubeconfig();
        let options = ControlOptions {
            address: [127, 0, 0, 1].into(),
            ports: Ports { xds: 0, secure: 0, webhooks: 0, http: 0, monitoring: 0 },
            kube: KubeAccess::File(kubeconfig.clone()),
            ca,
            ..ControlOptions::default()
        };
        let control = Control::bind(options).await.unwrap();
        std::fs::remove_file(kubeconfig).unwrap();
        let addresses = control.addresses();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(control.run(shutdown.clone()));
        api.changed("/api/v1/secrets", "istio-system/istio-ca-secret", |_| true).await;
        let ca_pem = api.secret("istio-system/istio-ca-secret", "ca-cert.pem").unwrap();
        Running { api, addresses, ca_pem, shutdown, task }
    }

    /// Ends it and waits for its end.
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
