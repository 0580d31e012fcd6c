//! Logs and exec, as kubectl asks for them.

use futures::AsyncBufReadExt;
use futures::TryStreamExt;
use kube::api::{AttachParams, LogParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mesh::{Mesh, ready};

pub async fn logs_and_exec(mesh: &Mesh) {
    let command = [
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; done; echo problem >&2; sleep 0.3; echo late; sleep 600",
    ];
    mesh.run("talker", &[], json!({"container.command": command})).await;
    mesh.until("talker", ready).await;
    let follow = LogParams { follow: true, tail_lines: Some(2), ..Default::default() };
    let mut lines = mesh.pods().log_stream("talker", &follow).await.unwrap().lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.try_next().await.unwrap() {
        seen.push(line.clone());
        if line == "late" {
            break;
        }
    }
    assert_eq!(seen.last().map(String::as_str), Some("late"));

    let parameters = AttachParams::default().stdin(true).stdout(true).stderr(true);
    let script = ["sh", "-c", "read word; echo got $word in $HOSTNAME; echo bad >&2; exit 7"];
    let mut process = mesh.pods().exec("talker", script, &parameters).await.unwrap();
    process.stdin().unwrap().write_all(b"hello\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let status = process.take_status().unwrap();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.trim(), err.trim()), ("got hello in talker", "bad"));
    let status = status.await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");

    let parameters = AttachParams::interactive_tty();
    let mut process =
        mesh.pods().exec("talker", ["sh", "-c", "test -t 0 && echo terminal"], &parameters).await.unwrap();
    let mut out = String::new();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out.trim(), "terminal");

    attached_input(mesh).await;
}

async fn attached_input(mesh: &Mesh) {
    let command = ["sh", "-c", "read word; echo got $word; sleep 600"];
    mesh.run("listener", &[], json!({"container.command": command, "container.stdin": true})).await;
    mesh.until("listener", ready).await;
    let parameters = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = mesh.pods().attach("listener", &parameters).await.unwrap();
    process.stdin().unwrap().write_all(b"hello\n").await.unwrap();
    let mut out = [0; 10];
    process.stdout().unwrap().read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"got hello\n");
}
