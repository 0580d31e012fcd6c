//! The check of a pod whose rules somebody else has made: a connection that the proxy itself opens to the pod's own
//! address has to come out at the proxy's inbound port, as Istio's validation has it.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::{Capture, Error};

/// Exit status of a check that found no capture: by it, repair knows the pod (Istio's `ValidationErrorCode`).
pub const NOT_CAPTURED: u8 = 126;

/// Time between attempts; rules may be made while the check runs.
const EVERY: Duration = Duration::from_millis(100);

/// Checks the current network namespace.
///
/// # Errors
/// [`Error::NotCaptured`] once `patience` is over.
pub(crate) fn validate(
    capture: &Capture,
    addresses: &[IpAddr],
    probe_port: u16,
    patience: Duration,
) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match attempt(capture, addresses, probe_port) {
            Ok(()) => return Ok(()),
            Err(reason) if start.elapsed() >= patience => {
                return Err(Error::NotCaptured(format!(
                    "the pod's traffic is not captured ({reason}): the pod was made before the node's CNI plugin was \
                     ready. The plugin's repair mends or deletes it; otherwise delete it, so that it is made again"
                )));
            }
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}

fn attempt(capture: &Capture, addresses: &[IpAddr], probe_port: u16) -> Result<(), String> {
    let mut checked = false;
    for version in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let Some(own) = addresses.iter().find(|address| address.is_ipv4() == version.is_ipv4()) else {
            continue;
        };
        let listener = TcpListener::bind(SocketAddr::new(version, capture.inbound_port))
            .map_err(|e| format!("cannot listen on port {}: {e}", capture.inbound_port))?;
        arrives(&listener, SocketAddr::new(*own, probe_port))?;
        checked = true;
    }
    if checked { Ok(()) } else { Err("the pod has no address".to_owned()) }
}

/// Whether a connection to `target`, where nobody listens, comes out at the listener.
fn arrives(listener: &TcpListener, target: SocketAddr) -> Result<(), String> {
    let fail = |e: std::io::Error| e.to_string();
    let client = TcpStream::connect_timeout(&target, Duration::from_secs(1))
        .map_err(|e| format!("a connection to {target} does not arrive at the proxy's port: {e}"))?;
    listener.set_nonblocking(true).map_err(fail)?;
    let own = client.local_addr().map_err(fail)?;
    match listener.accept() {
        Ok((_, peer)) if peer.port() == own.port() => Ok(()),
        Ok((_, peer)) => Err(format!("{peer} connected meanwhile")),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Err(format!("somebody else listens on {target}")),
        Err(e) => Err(fail(e)),
    }
}
