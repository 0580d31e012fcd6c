//! The least that a proxy can do: one thread a direction, no look at the bytes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Result;

/// Forwards connections until it is ended.
pub fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    for client in TcpListener::bind(listen)?.incoming() {
        let client = client?;
        let server = TcpStream::connect(upstream)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_read, server_write) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || copy(client_read, server_write));
        thread::spawn(move || copy(server, client));
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either end may go away at any time: that ends the copy.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
