//! The control plane from the outside: a Kubernetes API before it, proxies and webhooks behind it.

mod ads;
mod ads_client;
mod debug;
mod envoy;
mod fake_api;
mod objects;
mod webhooks;

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
        let kubeconfig = api.kubeconfig();
        let options = ControlOptions {
            address: [127, 0, 0, 1].into(),
            ports: Ports { xds: 0, webhooks: 0, http: 0, monitoring: 0 },
            kube: KubeAccess::File(kubeconfig.clone()),
            ..ControlOptions::default()
        };
        let control = Control::bind(options).await.unwrap();
        std::fs::remove_file(kubeconfig).unwrap();
        let (addresses, ca_pem) = (control.addresses(), control.ca_pem().to_owned());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(control.run(shutdown.clone()));
        Running { api, addresses, ca_pem, shutdown, task }
    }

    /// Ends it and waits for its end.
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
