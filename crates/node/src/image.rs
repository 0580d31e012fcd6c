//! Images without a container engine: each stands for a program of this machine.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What runs for an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// Program and leading arguments; a container's `command` replaces it.
    pub entry_point: Vec<String>,
    /// Arguments where the container gives neither `command` nor `args`.
    pub default_arguments: Vec<String>,
    /// Environment of the image; the container's own wins.
    pub env: Vec<(String, String)>,
    /// Why the program only stands in for the image, if it does: said in the pod's events and annotations.
    pub stand_in: Option<String>,
}

/// Says what runs for an image.
pub trait ImageResolver: Send + Sync + 'static {
    /// The program for `image` in `container` of a pod with this metadata.
    fn resolve(&self, image: &str, container: &Container, pod: &ObjectMeta) -> ImageCommand;

    /// Small programs that containers find where the host lacks one of that name: name, program with leading
    /// arguments (`curl`, `pilot-agent`...).
    fn applets(&self) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }
}
