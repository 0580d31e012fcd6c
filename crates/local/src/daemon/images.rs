//! Which program a container's image stands for on this machine.
//!
//! In order: what the user mapped (`--image`), this mesh's own image, the demo applications, well-known servers that
//! the host has installed, and last a stand-in that says so.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lateen_demo::DemoCommand;
use lateen_demo::images::DatabaseServer;
use lateen_node::{ImageCommand as Program, ImageResolver};

use crate::options::ImageCommand;

/// Resolves images to programs.
#[derive(Clone, Debug)]
pub struct Images {
    own_binary: String,
    mapped: Vec<ImageCommand>,
    path: Vec<PathBuf>,
}

/// Servers that run from the host where it has them: image name, program, arguments.
const HOST_SERVERS: [(&str, &str, &[&str]); 2] =
    [("nginx", "nginx", &["-g", "daemon off;"]), ("memcached", "memcached", &["-u", "root"])];

/// Images that are a shell and tools: containers have those of the host.
const SHELLS: [&str; 6] = ["busybox", "alpine", "debian", "ubuntu", "bash", "toybox"];

/// Redis' image turns off the mode of its package in which Redis answers its own machine alone.
const UNPROTECTED: [&str; 2] = ["--protected-mode", "no"];

impl Images {
    /// Resolves with the user's mappings, looking for the host's programs on `path`.
    pub fn new(own_binary: String, mapped: Vec<ImageCommand>, path: Vec<PathBuf>) -> Images {
        Images { own_binary, mapped, path }
    }

    /// The program for an image.
    fn program(&self, image: &str) -> Program {
        let name = repository(image);
        if let Some(mapped) = self.mapped.iter().find(|m| m.image == image || m.image == name) {
            return Program { entry_point: seen_inside(&mapped.command), ..Program::default() };
        }
        if is_own(name) {
            return self.own(&[]);
        }
        if let Some(demo) = lateen_demo::resolve(image) {
            return self.own(&demo.arguments());
        }
        if let Some(database) = lateen_demo::images::database_server(image) {
            return self.database(database);
        }
        let short = name.rsplit('/').next().unwrap_or(name);
        if let Some((_, program, arguments)) = HOST_SERVERS.iter().find(|(known, ..)| *known == short) {
            match self.find(program) {
                Some(found) => {
                    return Program {
                        entry_point: vec![found],
                        default_arguments: arguments.iter().map(ToString::to_string).collect(),
                        ..Program::default()
                    };
                }
                None => return self.missing(program, program),
            }
        }
        if SHELLS.contains(&short) {
            return Program { default_arguments: vec!["sh".to_owned()], ..Program::default() };
        }
        self.echo("this machine has no program for this image; map one with --image NAME=COMMAND".to_owned())
    }

    /// The host's database server.
    fn database(&self, server: DatabaseServer) -> Program {
        match server {
            DatabaseServer::Redis => match self.find("redis-server") {
                Some(found) => Program {
                    entry_point: vec![found],
                    default_arguments: ["--save", ""]
                        .into_iter()
                        .chain(UNPROTECTED)
                        .map(str::to_owned)
                        .collect(),
                    ..Program::default()
                },
                None => self.missing("redis-server", "redis-server"),
            },
            // Debian has none, and nobody's version can be counted on: the user says which.
            DatabaseServer::Mongo => self.echo(
                "no MongoDB is run here; map one with --image NAME=COMMAND, or use MySQL's manifests"
                    .to_owned(),
            ),
            DatabaseServer::Mysql(tables) => match self.find("mariadbd") {
                Some(found) => self.own(&DemoCommand::mysql_server(&found, tables).arguments()),
                None => self.missing("mariadbd", "mariadb-server"),
            },
        }
    }

    fn missing(&self, program: &str, package: &str) -> Program {
        self.echo(format!("{program} is not installed on this machine; Debian's package {package} has it"))
    }

    fn own(&self, arguments: &[String]) -> Program {
        Program {
            entry_point: std::iter::once(self.own_binary.clone()).chain(arguments.iter().cloned()).collect(),
            ..Program::default()
        }
    }

    fn echo(&self, reason: String) -> Program {
        Program { stand_in: Some(reason), ..self.own(&["demo".to_owned(), "echo".to_owned()]) }
    }

    fn find(&self, program: &str) -> Option<String> {
        let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let found = self.path.iter().chain(&sbin).map(|dir| dir.join(program)).find(|path| path.is_file())?;
        Some(found.to_string_lossy().into_owned())
    }
}

impl ImageResolver for Images {
    fn resolve(&self, image: &str, container: &Container, pod: &ObjectMeta) -> Program {
        let mut program = self.program(image);
        if program.stand_in.is_none() {
            let options = container.args.iter().flatten().next().is_some_and(|first| first.starts_with("--"));
            if options && lateen_demo::images::database_server(image) == Some(DatabaseServer::Redis) {
                program.entry_point.extend(UNPROTECTED.map(str::to_owned));
            }
            return program;
        }
        let ports =
            container.ports.iter().flatten().filter_map(|port| u16::try_from(port.container_port).ok());
        let version = pod.labels.as_ref().and_then(|labels| labels.get("version")).map(String::as_str);
        let arguments = lateen_demo::stand_in(image, &ports.collect::<Vec<_>>(), version).arguments();
        Program { stand_in: program.stand_in, ..self.own(&arguments) }
    }

    fn applets(&self) -> Vec<(String, Vec<String>)> {
        let lateen = || self.own_binary.clone();
        vec![
            ("curl".to_owned(), vec![lateen(), "demo".to_owned(), "curl".to_owned()]),
            ("lateen".to_owned(), vec![lateen()]),
            ("pilot-agent".to_owned(), vec![lateen(), "agent".to_owned()]),
        ]
    }
}

/// A command of the host as containers find it: they have a `/tmp` of their own, say.
fn seen_inside(command: &[String]) -> Vec<String> {
    let mut command = command.to_vec();
    if let Some(program) = command.first_mut().filter(|program| program.starts_with('/')) {
        *program = lateen_node::launcher::host_file(Path::new(program)).to_string_lossy().into_owned();
    }
    command
}

/// Whether the image is this mesh's own, or one of Istio's for the same role.
fn is_own(name: &str) -> bool {
    let short = name.rsplit('/').next().unwrap_or(name);
    (name.contains("lateen/") && short == "lateen")
        || (name.contains("istio/") && matches!(short, "proxyv2" | "proxy_init" | "pilot"))
}

/// An image's name without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let mapped = vec!["example.com/app=/bin/app --fast".parse().unwrap()];
        Images::new("/bin/lateen".into(), mapped, vec![])
    }

    #[test]
    fn the_users_mapping_comes_first_for_every_tag() {
        assert_eq!(images().program("example.com/app:7").entry_point, ["/bin/app", "--fast"]);
        assert_eq!(seen_inside(&["/tmp/app".into()]), ["/.lateen/host/tmp/app"]);
    }

    #[test]
    fn the_meshs_own_image_and_istios_are_this_binary() {
        for image in
            ["docker.io/lateen/lateen:0.1.0", "docker.io/istio/proxyv2:1.20.0", "istio/proxy_init:1.0.5"]
        {
            assert_eq!(images().program(image).entry_point, ["/bin/lateen"], "{image}");
        }
    }

    #[test]
    fn databases_are_the_hosts_or_say_what_to_install() {
        let host = std::env::temp_dir().join(format!("lateen-images-{}", std::process::id()));
        std::fs::create_dir_all(&host).unwrap();
        for program in ["redis-server", "mariadbd"] {
            std::fs::write(host.join(program), "").unwrap();
        }
        let with = Images::new("/bin/lateen".into(), vec![], vec![host.clone()]);
        assert!(with.program("redis:4.0.10").entry_point[0].ends_with("redis-server"));
        let storage = with.program("mcr.microsoft.com/aks/samples/voting/storage:2.0").entry_point.join(" ");
        assert!(storage.contains("mysql-server") && storage.ends_with("--tables voting --"), "{storage}");
        std::fs::remove_dir_all(&host).unwrap();
        let program = images().missing("mariadbd", "mariadb-server");
        assert!(program.stand_in.unwrap().contains("mariadb-server"));
    }

    #[test]
    fn an_unknown_image_gets_a_stand_in_that_says_so() {
        let program = images().program("registry.example:5000/team/thing@sha256:00");
        assert!(program.stand_in.unwrap().contains("--image"));
        assert_eq!(program.entry_point, ["/bin/lateen", "demo", "echo"]);
    }

    #[test]
    fn a_stand_in_answers_on_the_containers_ports_as_the_pods_version() {
        let container = serde_json::json!({"name": "a", "ports": [{"containerPort": 7000}]});
        let pod = serde_json::json!({"labels": {"version": "v7"}});
        let (container, pod) =
            (serde_json::from_value(container).unwrap(), serde_json::from_value(pod).unwrap());
        let command = images().resolve("example.com/unknown:1", &container, &pod).entry_point.join(" ");
        assert!(command.contains("--port 7000") && command.contains("--version v7"), "{command}");
    }

    #[test]
    fn images_of_shells_run_what_the_container_says_and_else_a_shell() {
        let program = images().program("docker.io/library/busybox:1.36");
        assert!(program.entry_point.is_empty() && program.stand_in.is_none());
        assert_eq!(program.default_arguments, ["sh"]);
    }

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert_eq!(repository("registry.example:5000/team/thing"), "registry.example:5000/team/thing");
        assert_eq!(repository("nginx:1.25"), "nginx");
    }
}
