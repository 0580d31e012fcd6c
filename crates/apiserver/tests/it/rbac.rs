//! Rights: what roles allow, what is refused and in which words, and questions about it.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::{
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lateen_apiserver::Handle;
use serde_json::{Value, json};

use crate::{refusal, start};

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A client that is nobody but what `auth` says.
async fn as_user(handle: &Handle, auth: AuthInfo) -> Client {
    let mut kubeconfig = Kubeconfig::from_yaml(handle.kubeconfig()).unwrap();
    kubeconfig.auth_infos[0].auth_info = Some(auth);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A client with the token of the default service account.
async fn account(handle: &Handle, admin: &Client) -> Client {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(admin.clone());
    let request: TokenRequest = typed(json!({"metadata": {}, "spec": {"audiences": []}}));
    let token = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    let token: Value = serde_json::to_value(token).unwrap();
    let auth = json!({"token": token["status"]["token"]});
    as_user(handle, typed(auth)).await
}

fn role(verbs: &[&str], resources: &[&str]) -> Role {
    let rule = json!({"apiGroups": [""], "resources": resources, "verbs": verbs});
    typed(json!({"metadata": {"name": "reader"}, "rules": [rule]}))
}

fn binding(kind: &str, name: &str) -> RoleBinding {
    typed(json!({
        "metadata": {"name": "reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }))
}

#[tokio::test]
async fn an_account_may_do_what_its_roles_allow_and_nothing_else() {
    let (server, admin) = start().await;
    let client = account(&server, &admin).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let refused = refusal(maps.list(&ListParams::default()).await);
    assert_eq!((refused.0, refused.1.as_str()), (403, "Forbidden"));
    assert_eq!(
        refused.2,
        "configmaps is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"configmaps\" \
         in API group \"\" in the namespace \"default\""
    );
    let roles: Api<Role> = Api::default_namespaced(admin.clone());
    roles.create(&PostParams::default(), &role(&["get", "list"], &["configmaps"])).await.unwrap();
    let bindings: Api<RoleBinding> = Api::default_namespaced(admin.clone());
    bindings.create(&PostParams::default(), &binding("Role", "reader")).await.unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    let new: ConfigMap = typed(json!({"metadata": {"name": "x"}}));
    assert_eq!(refusal(maps.create(&PostParams::default(), &new).await).0, 403);
    let elsewhere: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    assert_eq!(refusal(elsewhere.list(&ListParams::default()).await).0, 403);
    let everywhere: Api<ConfigMap> = Api::all(client.clone());
    assert!(refusal(everywhere.list(&ListParams::default()).await).2.ends_with("at the cluster scope"));
    bindings.delete("reads", &Default::default()).await.unwrap();
    assert_eq!(refusal(maps.list(&ListParams::default()).await).0, 403, "at once");
}

#[tokio::test]
async fn view_reads_all_but_secrets_and_edit_writes() {
    let (server, admin) = start().await;
    let client = account(&server, &admin).await;
    let bindings: Api<RoleBinding> = Api::default_namespaced(admin.clone());
    bindings.create(&PostParams::default(), &binding("ClusterRole", "view")).await.unwrap();
    Api::<Pod>::default_namespaced(client.clone()).list(&ListParams::default()).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    assert_eq!(refusal(secrets.list(&ListParams::default()).await).0, 403);
    bindings.delete("reads", &Default::default()).await.unwrap();
    bindings.create(&PostParams::default(), &binding("ClusterRole", "edit")).await.unwrap();
    secrets.list(&ListParams::default()).await.unwrap();
    let new: ConfigMap = typed(json!({"metadata": {"name": "x"}}));
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &new).await.unwrap();
    let roles: Api<Role> = Api::default_namespaced(client);
    assert_eq!(refusal(roles.create(&PostParams::default(), &role(&["get"], &["pods"])).await).0, 403);
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let (server, admin) = start().await;
    let client = account(&server, &admin).await;
    let bindings: Api<RoleBinding> = Api::default_namespaced(admin.clone());
    bindings.create(&PostParams::default(), &binding("ClusterRole", "admin")).await.unwrap();
    let roles: Api<Role> = Api::default_namespaced(client.clone());
    roles.create(&PostParams::default(), &role(&["get"], &["pods"])).await.unwrap();
    let mut more = role(&["*"], &["*"]);
    more.metadata.name = Some("more".into());
    let refused = refusal(roles.create(&PostParams::default(), &more).await);
    assert!(refused.0 == 403 && refused.2.contains("attempting to grant RBAC permissions"), "{refused:?}");
    let mut all = binding("ClusterRole", "cluster-admin");
    all.metadata.name = Some("all".into());
    let own: Api<RoleBinding> = Api::default_namespaced(client);
    assert_eq!(refusal(own.create(&PostParams::default(), &all).await).0, 403);
}

#[tokio::test]
async fn questions_about_rights_are_answered() {
    let (server, admin) = start().await;
    let client = account(&server, &admin).await;
    let asks = |verb: &str, resource: &str| -> SelfSubjectAccessReview {
        let wanted = json!({"verb": verb, "resource": resource, "namespace": "default"});
        typed(json!({"metadata": {}, "spec": {"resourceAttributes": wanted}}))
    };
    let may = async |client: &Client, review: SelfSubjectAccessReview| {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    };
    assert!(may(&admin, asks("delete", "nodes")).await);
    assert!(!may(&client, asks("list", "pods")).await);
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]});
    let role: ClusterRole = typed(json!({"metadata": {"name": "pods"}, "rules": [rule]}));
    roles.create(&PostParams::default(), &role).await.unwrap();
    let bound: ClusterRoleBinding = typed(json!({
        "metadata": {"name": "pods"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "pods"},
        "subjects": [{"kind": "Group", "name": "system:serviceaccounts:default"}],
    }));
    Api::<ClusterRoleBinding>::all(admin.clone()).create(&PostParams::default(), &bound).await.unwrap();
    assert!(may(&client, asks("list", "pods")).await && !may(&client, asks("get", "pods")).await);
    let wanted = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    let subject: SubjectAccessReview = typed(json!({
        "metadata": {}, "spec": {"user": "jane", "groups": ["dev"], "resourceAttributes": wanted},
    }));
    let reviews: Api<SubjectAccessReview> = Api::all(admin.clone());
    let status = reviews.create(&PostParams::default(), &subject).await.unwrap().status.unwrap();
    assert!(!status.allowed);
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    assert_eq!(refusal(reviews.create(&PostParams::default(), &subject).await).0, 403);
    let rules: SelfSubjectRulesReview = typed(json!({"metadata": {}, "spec": {"namespace": "default"}}));
    let rules = Api::all(client).create(&PostParams::default(), &rules).await.unwrap();
    let rules: Value = serde_json::to_value(rules).unwrap();
    assert!(rules["status"]["resourceRules"].to_string().contains("pods"), "{rules}");
}

#[tokio::test]
async fn only_those_who_may_act_as_others() {
    let (server, admin) = start().await;
    let own = Kubeconfig::from_yaml(server.kubeconfig()).unwrap().auth_infos[0].auth_info.clone().unwrap();
    let auth = AuthInfo { impersonate: Some("jane".into()), ..own };
    let jane = as_user(&server, auth).await;
    let refused = refusal(Api::<Pod>::default_namespaced(jane).list(&ListParams::default()).await);
    assert!(refused.2.starts_with("pods is forbidden: User \"jane\" cannot list"), "{refused:?}");
    let accounts: Api<ServiceAccount> = Api::default_namespaced(admin.clone());
    let request: TokenRequest = typed(json!({"metadata": {}, "spec": {"audiences": []}}));
    let token = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    let token = serde_json::to_value(token).unwrap()["status"]["token"].clone();
    let auth: AuthInfo = typed(json!({"token": token, "as": "admin"}));
    let other = as_user(&server, auth).await;
    let refused = refusal(Api::<Pod>::default_namespaced(other).list(&ListParams::default()).await);
    assert!(refused.2.contains("cannot impersonate resource \"users\""), "{refused:?}");
}
