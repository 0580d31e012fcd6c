use super::*;

fn resolve(arguments: &[&str]) -> Result<Capture, Error> {
    let all = std::iter::once(&"capture").chain(arguments);
    Arguments::parse_from(all).resolve(None, false, vec![])
}

#[test]
fn without_z_both_directions_go_to_p_as_in_istio_1_0() {
    let seed = ["-p", "15001", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "9080", "-d", ""];
    let capture = resolve(&seed).unwrap();
    assert_eq!((capture.outbound_port, capture.inbound_port), (15001, 15001));
    assert_eq!(capture.inbound, Ports::Only(vec![9080]));
    assert_eq!(capture.include, Ranges::All);
    assert_eq!(capture.identities, [Identity::Uid(1337), Identity::Gid(1337)]);
}

#[test]
fn todays_arguments_are_understood() {
    let capture = resolve(&[
        "-p",
        "15001",
        "-z",
        "15006",
        "-u",
        "1337",
        "-m",
        "REDIRECT",
        "-i",
        "*",
        "-x",
        "",
        "-b",
        "*",
        "-d",
        "15090,15021,15020",
        "-q",
        "",
        "-o",
        "3306,",
    ])
    .unwrap();
    assert_eq!(capture.inbound_port, 15006);
    assert_eq!(capture.inbound, Ports::AllBut(vec![15090, 15021, 15020]));
    assert_eq!(capture.outbound_exclude, [3306]);
}

#[test]
fn the_proxys_mark_must_not_be_that_of_tproxy() {
    let error = resolve(&["-m", "TPROXY", "--socket-mark", "1337"]).unwrap_err().to_string();
    assert!(error.starts_with("--socket-mark \"1337\"") && error.contains("(-t)"), "{error}");
    assert!(resolve(&["-m", "TPROXY", "--socket-mark", "1339"]).is_ok());
    assert!(resolve(&["-m", "REDIRECT", "--socket-mark", "1337"]).is_ok());
}

#[test]
fn what_cannot_be_read_is_named() {
    for (arguments, flag) in [
        (["-b", "80,http"], "--istio-inbound-ports"),
        (["-i", "10.0.0.0/33"], "--istio-service-cidr"),
        (["-x", "example.com"], "--istio-service-exclude-cidr"),
        (["-m", "BOTH"], "--istio-inbound-interception-mode"),
        (["-u", "istio-proxy"], "--proxy-uid"),
        (["-o", "70000"], "--istio-local-outbound-ports-exclude"),
    ] {
        let error = resolve(&arguments).unwrap_err().to_string();
        assert!(error.starts_with(flag), "{error}");
    }
}
