use std::process::Command;

use anyhow::{Context, Result, bail};

/// A client with a public address (TEST-NET-3, RFC 5737) in a network namespace of its own, behind this machine.
pub struct Outside {
    namespace: String,
    link: String,
}

const HERE: &str = "203.0.113.1/30";
const THERE: &str = "203.0.113.2/30";
const ROUTER: &str = "203.0.113.1";

impl Outside {
    /// The client's address.
    pub const ADDRESS: &str = "203.0.113.2";

    /// Makes the namespace; `None`, with a word about it, where that takes rights that this user lacks.
    pub fn open() -> Result<Option<Outside>> {
        let id = std::process::id() % 10_000;
        let outside = Outside { namespace: format!("lateen-out-{id}"), link: format!("lout{id}") };
        if ip(&["netns", "add", &outside.namespace]).is_err() {
            println!("skipped: a client from outside needs root");
            return Ok(None);
        }
        let Outside { namespace, link } = &outside;
        let peer = format!("{link}p");
        ip(&["link", "add", link, "type", "veth", "peer", "name", &peer, "netns", namespace])?;
        ip(&["address", "add", HERE, "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        ip(&["-n", namespace, "address", "add", THERE, "dev", &peer])?;
        ip(&["-n", namespace, "link", "set", &peer, "up"])?;
        ip(&["-n", namespace, "route", "add", "default", "via", ROUTER])?;
        Ok(Some(outside))
    }

    /// Whether the gateway at `ADDRESS:PORT` answers with the page.
    pub fn reaches(&self, address: &str) -> Result<bool> {
        let url = format!("http://{address}/productpage");
        let output = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "curl", "-s", "--max-time", "5", &url])
            .output()
            .context("cannot start ip")?;
        Ok(String::from_utf8_lossy(&output.stdout).contains("<title>Simple Bookstore App</title>"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.namespace]);
        let _ = ip(&["link", "delete", &self.link]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
