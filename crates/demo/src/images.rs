//! Which application stands for which image.

use crate::mysql_server::Tables;

/// A command of `lateen demo` that stands for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoCommand {
    args: Vec<String>,
}

impl DemoCommand {
    fn new(args: &[&str]) -> Self {
        Self { args: ["demo"].iter().chain(args).map(|arg| (*arg).to_owned()).collect() }
    }

    /// The arguments for `lateen`, of which the first is `demo`.
    pub fn arguments(&self) -> Vec<String> {
        self.args.clone()
    }
}

/// The application that an image's name means, whatever registry, tag or digest stands around it.
pub fn resolve(image: &str) -> Option<DemoCommand> {
    let name = name(image);
    let (owner, base) = name.rsplit_once('/').unwrap_or(("", name));
    if let Some(rest) = base.strip_prefix("examples-bookinfo-") {
        let (service, version) = rest.rsplit_once('-')?;
        return bookinfo(service, version);
    }
    if let Some(version) = base.strip_prefix("examples-helloworld-") {
        return Some(DemoCommand::new(&["helloworld", "--version", version]));
    }
    match base {
        "node-demo" => return Some(DemoCommand::new(&["sharks", "--version", "v1"])),
        "node-demo-v2" => return Some(DemoCommand::new(&["sharks", "--version", "v2"])),
        _ => {}
    }
    if owner.ends_with("samples/voting") {
        let version = tag(image).unwrap_or("1.0");
        return match base {
            "app" => Some(DemoCommand::new(&["voting-app", "--version", version])),
            "analytics" => Some(DemoCommand::new(&["voting-analytics", "--version", version])),
            _ => None,
        };
    }
    match (owner.rsplit('/').next().unwrap_or_default(), base) {
        ("mccutchen", "go-httpbin") => {
            Some(DemoCommand::new(&["httpbin", "--style", "go", "--port", "8080"]))
        }
        ("citizenstig", "httpbin") => Some(DemoCommand::new(&["httpbin", "--port", "8000"])),
        ("kennethreitz" | "kong", "httpbin") => Some(DemoCommand::new(&["httpbin", "--port", "80"])),
        ("pstauffer" | "curlimages", "curl")
        | ("governmentpaas", "curl-ssl")
        | ("tutum" | "appropriate", "curl") => Some(DemoCommand::new(&["curl"])),
        _ => None,
    }
}

fn bookinfo(service: &str, version: &str) -> Option<DemoCommand> {
    let known = matches!(service, "productpage" | "details" | "reviews" | "ratings");
    (known && version.starts_with('v')).then(|| DemoCommand::new(&[service, "--version", version]))
}

/// A database server of the host that an image means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseServer {
    /// Redis.
    Redis,
    /// MongoDB.
    Mongo,
    /// MySQL or MariaDB, with tables that the image brings along.
    Mysql(Option<Tables>),
}

/// The database server that an image means.
pub fn database_server(image: &str) -> Option<DatabaseServer> {
    let name = name(image);
    let (owner, base) = name.rsplit_once('/').unwrap_or(("", name));
    match base {
        "redis" => Some(DatabaseServer::Redis),
        "mongo" | "mongodb" | "examples-bookinfo-mongodb" => Some(DatabaseServer::Mongo),
        "mysql" | "mariadb" => Some(DatabaseServer::Mysql(None)),
        "examples-bookinfo-mysqldb" => Some(DatabaseServer::Mysql(Some(Tables::Bookinfo))),
        "storage" if owner.ends_with("samples/voting") => match tag(image) {
            Some(version) if version.starts_with('2') => Some(DatabaseServer::Mysql(Some(Tables::Voting))),
            _ => Some(DatabaseServer::Redis),
        },
        _ => None,
    }
}

impl DemoCommand {
    /// Becomes the host's MariaDB, which is at `server`.
    pub fn mysql_server(server: &str, tables: Option<Tables>) -> Self {
        let mut command = Self::new(&["mysql-server", "--server", server]);
        match tables {
            Some(Tables::Voting) => command.args.extend(["--tables".to_owned(), "voting".to_owned()]),
            Some(Tables::Bookinfo) => command.args.extend(["--tables".to_owned(), "bookinfo".to_owned()]),
            None => {}
        }
        // What the container has for arguments follows.
        command.args.push("--".to_owned());
        command
    }
}

/// The image's tag.
fn tag(image: &str) -> Option<&str> {
    let image = image.split('@').next().unwrap_or(image);
    image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
}

/// The image's name without registry host, tag and digest.
fn name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        // A colon before a slash is the registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    }
}

/// The stand-in for an image that nothing here can run: it answers on the container's ports and says what it is.
/// `version` is the pod's label `version`.
pub fn stand_in(image: &str, ports: &[u16], version: Option<&str>) -> DemoCommand {
    let mut command = DemoCommand::new(&["echo", "--image", image]);
    for port in ports {
        command.args.extend(["--port".to_owned(), port.to_string()]);
    }
    if let Some(version) = version {
        command.args.extend(["--version".to_owned(), version.to_owned()]);
    }
    command
}

/// The application that stands for a program that images have and this machine may lack: `lateen demo curl` for
/// `/usr/bin/curl`.
pub fn applet(program: &str) -> Option<&'static str> {
    match program.rsplit('/').next()? {
        "curl" => Some("curl"),
        "sleep" => Some("sleep"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(image: &str) -> Option<String> {
        resolve(image).map(|command| command.arguments()[1..].join(" "))
    }

    #[test]
    fn the_samples_images_are_known_with_any_registry_and_tag() {
        for image in [
            "istio/examples-bookinfo-reviews-v3:1.8.0",
            "docker.io/istio/examples-bookinfo-reviews-v3",
            "example.com:5000/release/examples-bookinfo-reviews-v3:1.20.3",
            "istio/examples-bookinfo-reviews-v3@sha256:0123",
        ] {
            assert_eq!(args(image).as_deref(), Some("reviews --version v3"), "{image}");
        }
        assert_eq!(args("istio/examples-helloworld-v2").as_deref(), Some("helloworld --version v2"));
        assert_eq!(
            args("docker.io/mccutchen/go-httpbin:v2.15.0").as_deref(),
            Some("httpbin --style go --port 8080")
        );
        assert_eq!(args("docker.io/citizenstig/httpbin").as_deref(), Some("httpbin --port 8000"));
        assert_eq!(args("docker.io/curlimages/curl:8.16.0").as_deref(), Some("curl"));
        assert_eq!(args("pstauffer/curl").as_deref(), Some("curl"));
    }

    #[test]
    fn the_voting_images_are_known_in_their_versions() {
        let voting = |name: &str| format!("mcr.microsoft.com/aks/samples/voting/{name}");
        assert_eq!(args(&voting("app:2.0")).as_deref(), Some("voting-app --version 2.0"));
        assert_eq!(args(&voting("analytics:1.1")).as_deref(), Some("voting-analytics --version 1.1"));
        assert_eq!(database_server(&voting("storage:1.0")), Some(DatabaseServer::Redis));
        let mysql = Some(DatabaseServer::Mysql(Some(Tables::Voting)));
        assert_eq!(database_server(&voting("storage:2.0")), mysql);
        assert_eq!(database_server("docker.io/library/mysql:5.6"), Some(DatabaseServer::Mysql(None)));
        assert_eq!(database_server("redis:4.0.10"), Some(DatabaseServer::Redis));
        assert_eq!(database_server("acme/storage:2.0"), None);
    }

    #[test]
    fn the_canary_tutorials_images_are_known_whoever_built_them() {
        assert_eq!(args("me/node-demo").as_deref(), Some("sharks --version v1"));
        assert_eq!(args("docker.io/lateen/node-demo-v2:1.0").as_deref(), Some("sharks --version v2"));
    }

    #[test]
    fn other_images_are_not() {
        for image in [
            "nginx",
            "istio/examples-bookinfo-mysqldb:1.8.0",
            "me/httpbin",
            "curl",
            "",
            ":",
            "/",
            "a/examples-bookinfo-",
        ] {
            assert_eq!(args(image), None, "{image}");
        }
    }

    #[test]
    fn the_stand_in_takes_the_containers_ports() {
        let command = stand_in("acme/shop:1", &[80, 443], Some("v2"));
        assert_eq!(
            command.arguments().join(" "),
            "demo echo --image acme/shop:1 --port 80 --port 443 --version v2"
        );
    }
}
