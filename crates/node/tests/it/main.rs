//! The node against the real API server and the kernel, in namespaces of the test's own.
//!
//! The test binary is also the program that the pods run ([`program`]), so that no other need be installed.

mod mesh;
mod namespace;
mod pods;
mod program;
mod services;
mod streams;

use std::process::ExitCode;

const TESTS: [(&str, mesh::Test); 10] = [
    ("a_pod_with_init_container_and_sidecar_becomes_ready", |m| Box::pin(pods::becomes_ready(m))),
    ("a_failing_container_is_started_again_and_its_log_kept", |m| Box::pin(pods::crash_loop(m))),
    ("a_jobs_pod_succeeds_and_its_sidecar_ends", |m| Box::pin(pods::succeeds(m))),
    ("deletion_waits_for_the_program_no_longer_than_the_grace", |m| Box::pin(pods::deletion(m))),
    ("volumes_follow_their_config_map", |m| Box::pin(pods::volumes(m))),
    ("what_does_not_fit_stays_pending", |m| Box::pin(pods::unschedulable(m))),
    ("services_are_found_by_name_and_reached", |m| Box::pin(services::reached(m))),
    ("the_bridge_keeps_its_address_when_pods_come_and_go", |m| {
        Box::pin(services::bridge_keeps_its_address(m))
    }),
    ("an_unserved_service_refuses_at_once", |m| Box::pin(services::refused(m))),
    ("logs_and_exec_pass_through_the_api", |m| Box::pin(streams::logs_and_exec(m))),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(lateen_node::launcher::VERB) => lateen_node::launcher::main(),
        Some("program") => return program::run(&arguments[1..]),
        Some("namespaced") => {}
        _ => {
            return match namespace::run_in_new(&arguments) {
                Ok(code) => ExitCode::from(code),
                Err(reason) => {
                    assert_ne!(
                        std::env::var("LATEEN_PEERS").as_deref(),
                        Ok("required"),
                        "no namespaces: {reason}"
                    );
                    println!("skipped: this kernel gives no namespaces: {reason}");
                    ExitCode::SUCCESS
                }
            };
        }
    }
    namespace::settle();
    let only: Vec<&String> = arguments[1..].iter().filter(|a| !a.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mesh = mesh::Mesh::start().await;
        for (name, test) in TESTS {
            if only.is_empty() || only.iter().any(|o| name.contains(o.as_str())) {
                let began = std::time::Instant::now();
                tokio::time::timeout(std::time::Duration::from_secs(30), test(&mesh)).await.expect(name);
                println!("test {name} ... ok ({:?})", began.elapsed());
            }
        }
        mesh.stop().await;
    });
    ExitCode::SUCCESS
}
