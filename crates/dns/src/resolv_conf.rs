use std::net::{IpAddr, SocketAddr};

/// Where a pod's or a host's resolver asks (resolv.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// Domains that are tried behind a short name, without dots at their ends, in lower case.
    pub search: Vec<String>,
}

/// Name servers that resolvers use; further ones are ignored (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;

impl ResolvConf {
    /// Reads `/etc/resolv.conf`; empty where there is none.
    pub fn read() -> ResolvConf {
        ResolvConf::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    /// Reads the file's text. Lines that say nothing usable are left out, as resolvers do.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.nameservers.len() < MAX_NAMESERVERS => {
                    conf.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last one counts.
                Some("search" | "domain") => {
                    let domains = words.map(|word| word.trim_matches('.').to_ascii_lowercase());
                    conf.search = domains.filter(|domain| !domain.is_empty()).collect();
                }
                _ => {}
            }
        }
        conf
    }

    /// The name servers' sockets.
    pub fn resolvers(&self) -> Vec<SocketAddr> {
        self.nameservers.iter().map(|ip| SocketAddr::new(*ip, 53)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_file_is_understood_and_nonsense_left_out() {
        let text = "# a comment\nnameserver 10.96.0.10\nnameserver nowhere\n nameserver fd00::a\n\
                    search old.example\nsearch Default.svc.cluster.local. svc.cluster.local\noptions ndots:5\n\
                    nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.resolvers().iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[fd00::a]:53", "192.0.2.1:53"]);
        assert_eq!(conf.search, ["default.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
    }
}
