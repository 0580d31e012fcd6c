use std::collections::BTreeMap;

use super::build;
use crate::arguments::Arguments;
use crate::environment::Environment;

#[test]
fn the_proxy_takes_the_bootstrap_of_a_pod() {
    let variables: BTreeMap<String, String> = [
        ("POD_NAME", "web-1"),
        ("POD_NAMESPACE", "shop"),
        ("INSTANCE_IP", "10.1.2.3"),
        ("LATEEN_SOCKET_MARK", "1337"),
        ("PROXY_CONFIG", "{\"discoveryAddress\":\"istiod.istio-system.svc:15010\"}"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let environment = Environment::from_parts(&variables, "app=\"web\"\n", "").unwrap();
    let arguments = Arguments::parse(&["sidecar".to_owned()]).unwrap();
    let bootstrap = build(&arguments, &environment, false);
    lateen_proxy::run::validate(&bootstrap).unwrap();
    let both =
        environment.clone().with_addresses(vec!["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()]);
    assert_eq!(both.metadata["INSTANCE_IPS"], "10.1.2.3,fd00::3");
    let both = build(&arguments, &both, false);
    lateen_proxy::run::validate(&both).unwrap();
    let listeners = both.static_resources.unwrap().listeners;
    assert!(listeners.iter().all(|listener| listener.additional_addresses.len() == 1));
    assert_eq!(bootstrap.node.unwrap().id, "sidecar~10.1.2.3~web-1.shop~shop.svc.cluster.local");
}
