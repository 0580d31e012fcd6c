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
    assert_eq!(bootstrap.node.unwrap().id, "sidecar~10.1.2.3~web-1.shop~shop.svc.cluster.local");
}
