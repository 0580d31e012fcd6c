//! What a container runs.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::context::{Dirs, Users};
use super::env::Env;
use crate::image::ImageCommand;
use crate::launcher::Program;

/// The user of Istio's proxy, whose traffic is not captured.
const PROXY_USER: i64 = 1337;
/// The mark of the proxy's sockets where that user does not exist: not TPROXY's (1337), which connections to the application
/// bear, nor that of outbound connections that come back to the pod (1338).
pub const PROXY_MARK: u32 = 1339;
/// Tells the proxy and capture to use a socket mark where that user does not exist.
pub(crate) const SOCKET_MARK: &str = "LATEEN_SOCKET_MARK";

/// A container's command line and, if a program of the manifest is missing here, what stands in for it.
pub(crate) fn argv(
    container: &Container,
    image: &ImageCommand,
    env: &Env,
    dirs: &Dirs,
) -> (Vec<String>, Option<String>) {
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|a| env.expand(a)).collect()
    };
    let (command, args) = (expand(&container.command), expand(&container.args));
    if let Some(program) = command.first() {
        let missing = image.stand_in.is_some() && !available(program, env, dirs);
        if !missing {
            return ([command, args].concat(), None);
        }
        let reason = format!("{program} is not on this machine");
        return (image.entry_point.clone(), Some(reason));
    }
    let rest = if args.is_empty() { image.default_arguments.clone() } else { args };
    ([image.entry_point.clone(), rest].concat(), image.stand_in.clone())
}

/// Whether containers of this node find the program.
fn available(program: &str, env: &Env, dirs: &Dirs) -> bool {
    let host = dirs.host();
    let applet = Path::new(program).file_name().is_some_and(|name| dirs.bin().join(name).exists());
    if applet || program.starts_with("./") {
        return true;
    }
    if program.contains('/') {
        return host.join(program.trim_start_matches('/')).exists();
    }
    let path = env.get("PATH").unwrap_or_default();
    path.split(':').any(|dir| host.join(dir.trim_start_matches('/')).join(program).exists())
}

/// Sets the user, or its replacement where this namespace does not know the user.
pub(crate) fn identity(
    program: &mut Program,
    pod: &Pod,
    container: &Container,
    users: &Users,
    env: &mut Env,
) {
    let own = container.security_context.as_ref();
    let common = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let user = own.and_then(|c| c.run_as_user).or(common.and_then(|c| c.run_as_user));
    let group = own.and_then(|c| c.run_as_group).or(common.and_then(|c| c.run_as_group));
    let known = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok()).filter(|id| users.knows(*id));
    program.uid = known(user);
    // Without a group of its own a user runs in group 0, as containers of an image without passwd entry do.
    program.gid = if program.uid.is_some() { known(group).or(Some(0)) } else { None };
    let groups =
        common.into_iter().flat_map(|c| c.supplemental_groups.iter().flatten().copied().chain(c.fs_group));
    program.groups = groups.filter_map(|g| known(Some(g))).collect();
    let captures = own
        .and_then(|c| c.capabilities.as_ref()?.add.as_ref())
        .is_some_and(|add| add.iter().any(|c| c == "NET_ADMIN" || c == "ALL"));
    let proxy = user == Some(PROXY_USER) || captures;
    if proxy && !users.knows(PROXY_USER as u32) && !super::env::names(container, SOCKET_MARK) {
        env.set(SOCKET_MARK, PROXY_MARK.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    fn image(stand_in: Option<&str>) -> ImageCommand {
        ImageCommand {
            entry_point: vec!["/bin/app".into(), "serve".into()],
            default_arguments: vec!["--all".into()],
            stand_in: stand_in.map(str::to_owned),
            ..Default::default()
        }
    }

    #[test]
    fn command_replaces_entry_point_and_args_replace_defaults() {
        let dirs = Dirs::new("/nowhere".into());
        let env = Env(vec![("WHO".into(), "me".into())]);
        let of = |value| argv(&container(value), &image(None), &env, &dirs).0;
        assert_eq!(of(serde_json::json!({"name": "c"})), ["/bin/app", "serve", "--all"]);
        assert_eq!(of(serde_json::json!({"name": "c", "args": ["$(WHO)"]})), ["/bin/app", "serve", "me"]);
        assert_eq!(of(serde_json::json!({"name": "c", "command": ["sh"], "args": ["-c"]})), ["sh", "-c"]);
        assert_eq!(of(serde_json::json!({"name": "c", "command": ["sh"]})), ["sh"]);
    }

    #[test]
    fn a_missing_program_of_an_unknown_image_is_stood_in_for() {
        let dirs = Dirs::new("/nowhere".into());
        let missing = container(serde_json::json!({"name": "c", "command": ["/app/server"]}));
        let (argv, reason) = argv(&missing, &image(Some("unknown")), &Env::default(), &dirs);
        assert_eq!(argv, ["/bin/app", "serve"]);
        assert!(reason.unwrap().contains("/app/server"));
    }

    #[test]
    fn the_proxys_user_becomes_a_mark_where_it_does_not_exist() {
        let pod = Pod::default();
        let proxy =
            container(serde_json::json!({"name": "istio-proxy", "securityContext": {"runAsUser": 1337}}));
        let init = container(serde_json::json!({"name": "istio-init", "securityContext": {
            "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}}));
        let other = container(serde_json::json!({"name": "app", "securityContext": {"runAsUser": 1000}}));
        for (container, marked) in [(&proxy, true), (&init, true), (&other, false)] {
            let (mut program, mut env) = (Program::default(), Env::default());
            identity(&mut program, &pod, container, &Users::default(), &mut env);
            assert_eq!(env.get(SOCKET_MARK).is_some(), marked, "{}", container.name);
            assert_eq!(program.uid, None);
        }
    }
}
