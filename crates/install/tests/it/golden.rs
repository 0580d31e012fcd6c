//! Files that are generated or kept as examples.

use std::fs;
use std::path::{Path, PathBuf};

use lateen_install::{Chart, GatewayKind, Profile, Release, Traffic, Values};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_charts_files_are_those_that_the_program_describes() {
    for chart in Chart::all() {
        for (path, text) in chart.generated().unwrap() {
            let path = root().join("charts").join(chart.name).join(path);
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == text, "{} is out of date: run `cargo xtask charts`", path.display());
        }
    }
}

#[test]
fn the_one_machine_modes_control_plane_has_the_charts_rights() {
    let path = root().join("crates/local/manifests/istiod-rbac.yaml");
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == lateen_install::local_rights().unwrap(), "run `cargo xtask charts`");
}

#[test]
fn the_chart_istio_has_the_defaults_of_the_charts_that_it_is_made_of() {
    let all = Values::parse("istio", Chart::istio().values).unwrap();
    for chart in [Chart::base(), Chart::istiod()] {
        let part = Values::parse(chart.name, chart.values).unwrap();
        for (key, value) in part.value().as_object().unwrap() {
            assert_eq!(all.value().get(key), Some(value), "{key} of {}", chart.name);
        }
    }
}

#[test]
fn the_image_is_that_of_this_version() {
    for chart in [Chart::istiod(), Chart::gateway(), Chart::istio()] {
        let values = Values::parse(chart.name, chart.values).unwrap();
        assert_eq!(values.value()["global"]["tag"], env!("CARGO_PKG_VERSION"), "{}", chart.name);
    }
}

/// Compares with a file, or writes it where `LATEEN_UPDATE_GOLDEN` is set.
fn golden(name: &str, release: &mut Release) {
    release.values().set("base.enableCRDTemplates=false").unwrap();
    compare(name, release);
}

fn compare(name: &str, release: &Release) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = release.manifest().unwrap().yaml();
    if std::env::var_os("LATEEN_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{} differs: look at it with LATEEN_UPDATE_GOLDEN=1 and git diff", path.display());
}

#[test]
fn profiles_install_what_they_always_did() {
    for (name, profile) in
        [("default.yaml", Profile::Default), ("demo.yaml", Profile::Demo), ("minimal.yaml", Profile::Minimal)]
    {
        let mut release = Release::new(Chart::istio(), "istio", "istio-system").unwrap();
        release.values().overlay(&profile.values().unwrap());
        golden(name, &mut release);
    }
}

#[test]
fn the_external_and_the_internal_gateway_are_what_they_always_were() {
    for (name, traffic) in [("external.yaml", Traffic::External), ("internal.yaml", Traffic::Internal)] {
        let kind = GatewayKind(traffic);
        let mut release = Release::new(Chart::gateway(), kind.name(), "aks-istio-ingress").unwrap();
        release.values().overlay(&kind.values().unwrap());
        compare(name, &release);
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_path() {
    for (set, expected) in [
        (
            "gateways.istio-ingressgateway.type=Loadbalancer",
            "gateways.istio-ingressgateway.type: must be one of",
        ),
        ("pilot.replicas=3", "pilot.replicas: no such value; there is: "),
        ("revision=Canary", "revision: \"Canary\" does not match"),
        ("pilot.autoscaleMin=few", "pilot.autoscaleMin: must be integer"),
        ("pilot.resources.requests.cpu=lots", "pilot.resources.requests.cpu: \"lots\" does not match"),
        ("gateways.istio-ingressgateway.ports[0].nodePort=x", "ports[0].nodePort: must be integer"),
    ] {
        let mut release = Release::new(Chart::istio(), "istio", "istio-system").unwrap();
        release.values().set(set).unwrap();
        let error = release.manifest().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
