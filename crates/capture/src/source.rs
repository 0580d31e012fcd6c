//! `::6` on the loopback interface, from which the proxy connects to its application by IPv6. IPv4 needs nothing of the
//! kind: all of 127.0.0.0/8 is there.
//!
//! Source: Istio, istio-iptables (`ip -6 addr add ::6/128 dev lo`).

use std::net::{IpAddr, Ipv6Addr};

use futures::TryStreamExt;

use crate::routes::{LOOPBACK_INDEX, is, netlink, refused};
use crate::{Capture, Error};

/// The address.
pub(crate) const ADDRESS: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

const PREFIX: u8 = 128;
const EADDRNOTAVAIL: i32 = 99;

/// Adds the address where IPv6 is captured.
pub(crate) fn add(capture: &Capture) -> Result<(), Error> {
    if !capture.ipv6 {
        return Ok(());
    }
    netlink(async |handle| {
        let request = handle.address().add(LOOPBACK_INDEX, ADDRESS.into(), PREFIX).replace();
        request.execute().await.map_err(|e| refused("add the address ::6 to the loopback interface", &e))
    })
}

/// Removes it, if it is there.
pub(crate) fn remove() -> Result<(), Error> {
    netlink(async |handle| {
        let listed = handle.address().get().set_link_index_filter(LOOPBACK_INDEX);
        let listed = listed.set_address_filter(IpAddr::V6(ADDRESS)).execute();
        let found: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|e| refused("read the addresses of the loopback interface", &e))?;
        for message in found {
            match handle.address().del(message).execute().await {
                Err(error) if !is(&error, &[EADDRNOTAVAIL]) => {
                    return Err(refused("remove the address ::6 from the loopback interface", &error));
                }
                _ => {}
            }
        }
        Ok(())
    })
}
