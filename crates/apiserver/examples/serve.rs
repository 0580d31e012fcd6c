//! Serves an API on loopback until interrupted: `serve KUBECONFIG [STATE_DIR]`, to try it with kubectl.

use std::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().ok_or("usage: serve KUBECONFIG [STATE_DIR]")?;
    let mut builder = lateen_apiserver::ApiServer::builder().listener(TcpListener::bind("127.0.0.1:0")?);
    if let Some(directory) = arguments.next() {
        builder = builder.state_dir(directory);
    }
    let began = std::time::Instant::now();
    let server = builder.start().await?;
    std::fs::write(&kubeconfig, server.kubeconfig())?;
    println!("ready after {:?}: export KUBECONFIG={kubeconfig}", began.elapsed());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
