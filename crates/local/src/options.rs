//! What `lateen up` was asked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Options of `lateen up`.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// Name of the mesh: several can run side by side.
    pub name: String,
    /// Where the mesh keeps its state; a folder below the user's state folder if not given.
    pub state_dir: Option<PathBuf>,
    /// Where to write the kubeconfig; into the state directory if not given.
    pub kubeconfig: Option<PathBuf>,
    /// Return once the mesh is ready, and leave it running.
    pub detach: bool,
    /// What the daemon needs to know.
    pub mesh: MeshOptions,
}

/// The part of the options that travels into the mesh's namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MeshOptions {
    /// The state directory, absolute.
    pub state_dir: PathBuf,
    /// The kubeconfig's path, absolute.
    pub kubeconfig: PathBuf,
    /// Demo to apply once the mesh is ready.
    pub demo: Option<String>,
    /// `--image NAME=COMMAND`: programs of the host that images of these names run.
    pub images: Vec<ImageCommand>,
    /// Whether the ingress gateway gets the NodePorts that the tutorials know (31380, 31390): only one mesh of a
    /// machine can have them.
    pub well_known_ports: bool,
    /// `--proxy envoy=PATH`: run this Envoy as every sidecar and gateway instead of Lateen's own proxy.
    pub envoy: Option<PathBuf>,
}

/// One `--image NAME=COMMAND`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCommand {
    /// Image name as in a manifest; without a tag it stands for every tag.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl std::str::FromStr for ImageCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "use NAME=COMMAND, for instance --image example.com/app:1=/usr/local/bin/app";
        let (image, command) = text.split_once('=').ok_or(usage)?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if image.is_empty() || command.is_empty() {
            return Err(usage.to_owned());
        }
        Ok(ImageCommand { image: image.to_owned(), command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_mapped_to_a_program_with_its_arguments() {
        let mapped: ImageCommand = "example.com/app:1=/bin/app --port 80".parse().unwrap();
        assert_eq!(mapped.image, "example.com/app:1");
        assert_eq!(mapped.command, ["/bin/app", "--port", "80"]);
        assert!("app".parse::<ImageCommand>().is_err());
        assert!("app=".parse::<ImageCommand>().is_err());
    }
}
