//! What a workload must not get.

use std::time::Duration;

use crate::mesh::{HOUR, Mesh, write};
use crate::sds_client::Delta;

/// The agent has no certificate after several attempts.
async fn gets_nothing(pod: &crate::mesh::Pod) {
    let agent = pod.agent();
    let mut stream = Delta::open(&pod.options.sds_socket, &["default"]).await;
    let got = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
    assert!(got.is_err(), "{:?}", stream.held.keys());
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_somebody_else_or_a_name_of_somebody_else_gets_nothing() {
    let mesh = Mesh::start(HOUR, Duration::ZERO).await;
    let mut pod = mesh.pod("default", "sleep").await;
    let good = std::fs::read_to_string(&pod.options.token_file).unwrap();

    // The token with which the pod speaks to the Kubernetes API.
    let token = mesh.token("default", "sleep", "https://kubernetes.default.svc.cluster.local").await;
    write(&pod.options.token_file, &token);
    gets_nothing(&pod).await;

    // Signature touched.
    let mut touched = good.clone();
    let last = touched.pop().unwrap();
    touched.push(if last == 'A' { 'B' } else { 'A' });
    write(&pod.options.token_file, &touched);
    gets_nothing(&pod).await;

    // A good token, and a CSR in another's name.
    write(&pod.options.token_file, &good);
    let own = pod.options.identity.clone();
    pod.options.identity = lateen_identity::SpiffeId::new("cluster.local", "default", "admin").unwrap();
    gets_nothing(&pod).await;
    pod.options.identity = own;

    // A control plane with another root is not given the token.
    let root = std::fs::read_to_string(&pod.options.root_file).unwrap();
    let other = lateen_identity::Authority::create("other", HOUR).unwrap();
    let forged = mesh.directory.join("forged.pem");
    write(&forged, other.certificate_pem());
    let real = std::mem::replace(&mut pod.options.root_file, forged);
    gets_nothing(&pod).await;
    pod.options.root_file = real;
    assert_eq!(std::fs::read_to_string(&pod.options.root_file).unwrap(), root);

    let agent = pod.agent();
    let mut stream = Delta::open(&pod.options.sds_socket, &["default"]).await;
    stream.until(&["default"]).await;
    drop(agent);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sockets_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mesh = Mesh::start(HOUR, Duration::ZERO).await;
    let pod = mesh.pod("default", "sleep").await;
    let agent = pod.agent();
    for socket in [&pod.options.sds_socket, &pod.options.xds_socket] {
        let mode = std::fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", socket.display());
    }
    drop(agent);
    mesh.stop().await;
}
